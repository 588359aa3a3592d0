"""The measurements: runs them, writes `docs/benchmarks.md`, fails when a target is missed."""

import argparse
import json
import os
import pathlib
import platform
import shutil
import subprocess
import sys

import hosts
import plans
import rollouts
import startup
from measure import Failed, skipped

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PAGE = ROOT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- begin: written by tests/bench/run -->", "<!-- end -->"
BEGIN_ROLLOUT = "<!-- begin: written by tests/bench/run rollout -->"
# How often a miss is measured; where it fails nothing, once is enough.
ATTEMPTS = int(os.environ.get("ATTEMPTS", "3"))

PARTS = {
    "startup": startup.measure,
    "plan": plans.measure,
    "noop": hosts.noop,
    "fleet": hosts.fleet,
}
IN_A_LAB = ("noop", "fleet")
# It counts what was dropped, which is never measured again for a better number, and takes times.
# It has tables of its own.
ROLLOUT = "rollout"


class Context:
    """What every part is told."""

    target = ROOT / "target" / "bench"
    ours = ROOT / "target" / "release" / "stagecraft"
    worlds = ROOT / "target" / "release" / "bench-world"
    venv = target / "venv"


def attempts(name, part, context):
    """A part's rows. The machine may be busy with other things: a miss is measured again."""
    rows = []
    for attempt in range(1, ATTEMPTS + 1):
        rows = part(context)
        missed = [row for row in rows if row["met"] is False]
        for row in rows:
            show(row)
        if not missed:
            break
        print(f"--- {name}: {len(missed)} missed in attempt {attempt} of {ATTEMPTS}", flush=True)
    return rows


def show(row):
    """One row, for people who watch."""
    verdict = {True: "met", False: "MISSED", None: "no target"}[row["met"]]
    print(
        f"{row['what']}: {row['ours']}, beside {row['beside']}: {row['theirs']}; "
        f"{row['ratio']} ({row['target']}) {verdict}",
        flush=True,
    )


def in_a_lab(names, context):
    """Runs parts in a lab of their own, in a network of its own; rows by part."""
    why = lab_is_missing()
    if why:
        skipped(" and ".join(names), why)
        if os.environ.get("CI") == "true":
            sys.exit("!!! in CI everything must run")
        return {}
    with hosts.place_for_a_lab() as place:
        results = place.parent / "rows.json"
        env = {**os.environ, "STAGECRAFT_LAB": str(place)}
        inside = [sys.executable, "-B", __file__, "--inside", results, *names]
        subprocess.run([ROOT / "tests" / "lab" / "alone", *inside], env=env, check=True)
        return json.loads(results.read_text())


def lab_is_missing():
    """Why no lab can be brought up here; nothing where one can."""
    if os.getuid() != 0:
        return "it needs root to make network namespaces"
    tools = ("dockerd", "sshd", "docker-registry", "ip", "unshare")
    missing = [tool for tool in tools if not shutil.which(tool)]
    return f"{', '.join(missing)} missing; .ci/run install installs them" if missing else ""


def inside(results, names):
    """The parts that need a lab, in its network."""
    if names == [ROLLOUT]:
        print(hosts.lab("up", "3"), flush=True)
        rows = {
            "dropped": rollouts.dropped(Context),
            "times": attempts(ROLLOUT, rollouts.speed, Context),
        }
        pathlib.Path(results).write_text(json.dumps(rows))
        return
    light = hosts.LIGHT_HOSTS if "fleet" in names else 0
    print(hosts.lab("up", "1" if "noop" in names else "0", "--light", str(light)), flush=True)
    rows = {name: attempts(name, PARTS[name], Context) for name in names}
    pathlib.Path(results).write_text(json.dumps(rows))


def machine():
    """The machine in words, without a name or a date."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    kib = int(pathlib.Path("/proc/meminfo").read_text().split()[1])
    cores = os.cpu_count()
    return f"{cores} cores ({model}), {kib / 1024 / 1024:.0f} GiB of memory, Linux"


VERDICTS = {True: "met", False: "**missed**", None: ""}
COLUMNS = ["| what | Stagecraft | beside | its value | ratio | target | |", "|---|---|---|---|---|---|---|"]


def lines_of(rows):
    """The lines of a table of times and sizes."""
    cells = ("what", "ours", "beside", "theirs", "ratio", "target")
    return [f"| {' | '.join(row[cell] for cell in cells)} | {VERDICTS[row['met']]} |" for row in rows]


def write(rows):
    """Replaces the generated part of the page."""
    head = f"Machine: {machine()}. Medians of interleaved runs of whole processes."
    put([BEGIN, head, "", *COLUMNS, *lines_of(rows)], BEGIN)


def write_rollouts(requests, taken):
    """Replaces the tables of rollouts."""
    lines = [
        BEGIN_ROLLOUT,
        f"Machine: {machine()}.",
        "",
        "| what | rollouts | requests | failed | target | |",
        "|---|---|---|---|---|---|",
    ]
    for row in requests:
        lines.append(f"| {' | '.join(row['cells'])} | {VERDICTS[row['met']]} |")
    put([*lines, "", *COLUMNS, *lines_of(taken)], BEGIN_ROLLOUT)


def put(lines, begin):
    """Replaces what stands between two marks of the page."""
    before, rest = PAGE.read_text().split(begin, 1)
    after = rest.split(END, 1)[1]
    PAGE.write_text("".join([before, "\n".join(lines), "\n", END, after]))


# What the program exits with when a target was missed, and when a request was dropped, or the meter
# is not to be trusted: no busy machine excuses that.
MISSED, DROPPED = 3, 1


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--inside")
    parser.add_argument("names", nargs="*")
    given = parser.parse_args()
    if given.inside:
        return inside(given.inside, given.names)

    wanted = [name for name in PARTS if not given.names or any(n in name for n in given.names)]
    here = [name for name in wanted if name not in IN_A_LAB]
    by_part = {name: attempts(name, PARTS[name], Context) for name in here}
    within = [name for name in wanted if name in IN_A_LAB]
    if within:
        by_part.update(in_a_lab(within, Context))
    extra = compose_config(given.names)
    requests, taken = [], []
    rows = [row for name in PARTS for row in by_part.get(name, [])] + extra
    asked = os.environ.get("BENCH_WRITE") != "0"
    if asked and not given.names and all(name in by_part for name in PARTS):
        write(rows)
    if not given.names or any(name in ROLLOUT for name in given.names):
        requests, taken = rollout_rows()
        rows += requests + taken
        if asked and requests:
            write_rollouts(requests, taken)
    missed = [row for row in rows if row["met"] is False]
    print(f"\nbench: {len(rows)} measured, {len(missed)} missed", flush=True)
    if any(row in missed for row in requests):
        return DROPPED
    return MISSED if missed else 0


def rollout_rows():
    """The rows about rollouts: requests (ours in a lab, then what others drop in theirs), and times."""
    ours = in_a_lab([ROLLOUT], Context)
    if not ours:
        return [], []
    return ours["dropped"] + rollouts.peers(Context), ours["times"]


def compose_config(names):
    """The rows of the loader's own measurement, where there is one: it prints them as JSON."""
    program = HERE / "compose_config.sh"
    if names and not any(n in "compose_config" for n in names):
        return []
    ran = subprocess.run([program, Context.ours], stdout=subprocess.PIPE, check=False)
    if ran.returncode != 0:
        print("!!! bench: compose_config could not run", flush=True)
        return []
    said = json.loads(ran.stdout)
    rows = [
        {
            "what": "`compose config` of the corpus's largest file",
            "ours": f"{said['stagecraft_ms']:.1f} ms",
            "beside": "`docker compose config`",
            "theirs": f"{said['docker_compose_ms']:.1f} ms",
            "ratio": f"{said['ratio']:.0f}× faster",
            "target": "≥ 10× faster",
            "met": said["ratio"] >= 10,
        }
    ]
    for row in rows:
        show(row)
    return rows


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as failed:
        sys.exit(f"bench: {failed}")
