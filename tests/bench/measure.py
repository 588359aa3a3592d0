"""Timing of whole processes: interleaved rounds and medians, so that a noisy machine is noisy for
everybody alike."""

import os
import statistics
import subprocess
import tempfile
import time


class Failed(Exception):
    """A measured command did not do what it should."""


class Command:
    """A command to be measured, with what must be done before each run."""

    def __init__(self, argv, cwd=None, env=None, exits=0, stdin=None, before=None):
        self.argv = [str(word) for word in argv]
        self.cwd = cwd
        self.env = {**os.environ, **(env or {})}
        self.exits = exits
        self.stdin = stdin
        self.before = before

    def _run(self, argv, out):
        with open(self.stdin or os.devnull, "rb") as source:
            return subprocess.run(
                argv, cwd=self.cwd, env=self.env, stdin=source, stdout=out, stderr=out
            ).returncode

    def run(self):
        """Runs it once; how long it took, in seconds."""
        if self.before:
            self.before()
        # A file, not a pipe: nobody must read along while the clock runs.
        with tempfile.TemporaryFile() as out:
            began = time.perf_counter()
            status = self._run(self.argv, out)
            took = time.perf_counter() - began
            if status != self.exits:
                out.seek(0)
                said = out.read().decode(errors="replace")[-2000:]
                raise Failed(f"{' '.join(self.argv)[:200]}: exit {status}\n{said}")
        return took

    def output(self):
        """What it writes to standard output."""
        with tempfile.TemporaryFile() as out:
            status = self._run(self.argv, out)
            out.seek(0)
            said = out.read().decode(errors="replace")
        if status != self.exits:
            raise Failed(f"{' '.join(self.argv)[:200]}: exit {status}\n{said[-2000:]}")
        return said

    def peak_kib(self):
        """Its peak resident memory, measured by `time`, which is small itself."""
        with tempfile.NamedTemporaryFile("r") as report, open(os.devnull, "wb") as out:
            argv = ["/usr/bin/time", "-q", "-f", "%M", "-o", report.name, *self.argv]
            status = self._run(argv, out)
            if status != self.exits:
                raise Failed(f"{' '.join(self.argv)[:200]}: exit {status}")
            return int(report.read().split()[-1])


def interleave(commands, rounds, each=None):
    """Medians in seconds by name, from rounds in which every command has its turn."""
    each = each or {}
    times = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            for _ in range(each.get(name, 1)):
                times[name].append(command.run())
    return {name: statistics.median(taken) for name, taken in times.items()}


def row(what, ours, beside, theirs, ratio, target, met):
    """A line of the table; `met` is none where there is no target."""
    return {
        "what": what,
        "ours": ours,
        "beside": beside,
        "theirs": theirs,
        "ratio": ratio,
        "target": target,
        "met": met,
    }


def seconds(value):
    """A time for people."""
    return f"{value:.2f} s" if value >= 1 else f"{value * 1000:.1f} ms"


def mebibytes(kib):
    """A size for people."""
    return f"{kib / 1024:.0f} MiB"


def times(value):
    """A ratio for people."""
    return f"{value:.0f} ×" if value >= 20 else f"{value:.2f} ×"


def skipped(what, why):
    """Says loudly that something was left out."""
    print(f"\n!!! SKIPPED bench {what}: {why}", flush=True)
