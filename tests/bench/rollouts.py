"""What a rollout costs those who are served: every request that fails while versions change, beside what
other ways of rolling drop; and how long a rollout takes beside docker-rollout's method."""

import json
import os
import pathlib
import shutil
import statistics
import subprocess
import time

from hosts import LAB, lab, place_for_a_lab, put
from measure import Failed, row, seconds, times

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
# How often each configuration rolls, before it fails once and goes back once.
ROLLOUTS = int(os.environ.get("ROLLOUTS", "20"))
# A short run shows that everything can be measured; a long one measures it.
SHORT = ROLLOUTS < 20
RATE = 200
# How long the meter goes on at most; a load that ends by itself has not seen everything.
LONGEST = 3600
# The version of release N is the one at N - 1, counted round.
VERSIONS = ("v1", "v2", "v3")
# Environment of fixtures/edge, where it answers, and where its api runs, in words.
PLACES = {
    "staging": ("10.99.0.11:80", "on one host, with its gateway"),
    "production": ("10.99.0.13:80", "on each of two hosts, behind a third"),
}
TIMED = 2 if SHORT else 5


def cell_row(what, number, sent, failed, target, met):
    """A line of the table of requests."""
    return {"what": what, "cells": [what, number, sent, failed, target], "met": met}


def meter(context):
    """The load meter, built."""
    program = context.target / "meter"
    source = ROOT / "tests" / "bench" / "rollout" / "meter.rs"
    subprocess.run(["rustc", "--edition", "2024", "-O", "-o", program, source], check=True)
    return program


class Load:
    """A steady load, without a retry, until its end; nothing of it outlives the block."""

    def __init__(self, program, address):
        words = [program, address, "--rate", str(RATE), "--seconds", str(LONGEST), "--until-eof"]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()

    def end(self):
        """What it has seen."""
        if self.process.poll() is not None:
            raise Failed("the load ended before the rollouts did")
        out, _ = self.process.communicate()
        return json.loads(out)


class Edge:
    """fixtures/edge in a folder of its own, as its operator works with it."""

    def __init__(self, context, environment, replicas):
        self.ours = context.ours
        self.environment = environment
        # What was run and when, so that a failed request can be laid beside it.
        self.ran = []
        self.folder = context.target / "edge" / f"{environment}-{replicas}"
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(ROOT / "fixtures" / "edge", self.folder)
        config = self.folder / "stagecraft.yml"
        settings = f"    api: {{ replicas: {replicas} }}\n    hosts:\n"
        config.write_text(config.read_text().replace("    hosts:\n", settings))

    def call(self, *words):
        """Runs a verb."""
        env = {**os.environ, "STAGECRAFT_SSH_CONFIG": str(LAB / "ssh_config")}
        words = [self.ours, *words, "--yes", "--env", self.environment]
        return subprocess.run(words, cwd=self.folder, env=env, capture_output=True, text=True)

    def run(self, *words, exits=0):
        """Runs a verb that must end so; how long it took, in seconds."""
        at, began = time.time(), time.perf_counter()
        ran = self.call(*words)
        took = time.perf_counter() - began
        self.ran.append({"words": words, "began_epoch_ms": at * 1000, "took_ms": took * 1000})
        if ran.returncode != exits:
            raise Failed(f"{words}: exit {ran.returncode}\n{ran.stdout}{ran.stderr}")
        return took

    def keep_evidence(self, seen):
        """Writes down what the meter saw, what was run and every journal: the lab will be gone."""
        folder = self.folder / "evidence"
        folder.mkdir()
        (folder / "meter.json").write_text(json.dumps(seen, indent=1))
        (folder / "commands.json").write_text(json.dumps(self.ran, indent=1))
        (folder / "releases").write_text(self.call("releases", "list").stdout)
        # The first, each rollout, the one that failed, and the way back.
        for number in range(1, ROLLOUTS + 4):
            shown = self.call("releases", "show", str(number), "--journal")
            (folder / f"journal-{number}").write_text(shown.stdout)
        print(f"--- {seen['failed']} dropped; see {folder}", flush=True)


def wipe():
    """Takes everything off the hosts, so that configurations don't meet."""
    for host in ("h1", "h2", "h3"):
        script = "docker ps -aq | xargs -r docker rm -f; docker network prune -f; rm -rf /var/lib/stagecraft"
        lab("exec", host, "sh", "-c", script)


def drops(context, program, environment, replicas):
    """One configuration: versions in turn, then one that fails, then back."""
    wipe()
    edge = Edge(context, environment, replicas)
    address, place = PLACES[environment]
    edge.run("apply")
    with Load(program, address) as load:
        for turn in range(1, ROLLOUTS + 1):
            edge.run("deploy", VERSIONS[turn % len(VERSIONS)])
        edge.run("deploy", "bad", exits=1)
        # It has failed by its health, and has gone back by itself: there is nothing to do.
        edge.run("plan", "--detailed-exitcode")
        # Release N + 1 is in force; two before it, or the first, has another version.
        edge.run("rollback", "--to", str(max(1, ROLLOUTS - 1)))
        seen = load.end()
    failed = seen["failed"]
    if failed:
        edge.keep_evidence(seen)
    # Zero failures say something only of a load that met every version there was, and not the bad one.
    wanted = {VERSIONS[turn % len(VERSIONS)] for turn in range(ROLLOUTS + 1)}
    if set(seen["versions"]) != wanted:
        raise Failed(f"{edge.folder.name}: {seen['versions']} answered, not {sorted(wanted)}")
    print(f"{edge.folder.name}: late {seen['late']}, latency {seen['latency_ms']}", flush=True)
    what = f"{replicas} {'replica' if replicas == 1 else 'replicas'} {place}"
    number = f"{ROLLOUTS}, one that fails, one back"
    return cell_row(what, number, f"{seen['sent']:,}", str(failed), "0", failed == 0)


def peers(context):
    """What others drop of the same load in one rollout; the meter must have seen it."""
    program = ROOT / "tests" / "bench" / "rollout" / "peers"
    replicas = ["1"] if SHORT else ["1", "3"]
    with place_for_a_lab() as place:
        settings = {"STAGECRAFT_LAB": str(place), "PEERS_ROUNDS": "1", "PEERS_RATE": str(RATE)}
        env = {**os.environ, **settings}
        ran = subprocess.run([program, *replicas], env=env, stdout=subprocess.PIPE, check=True)
    rows = []
    for line in ran.stdout.splitlines():
        said = json.loads(line)
        failed, sent = said["meter"]["failed"], said["meter"]["sent"]
        # What is known beforehand: the meter sees what there is, and nothing where there is nothing.
        known = {"nothing": failed == 0, "compose up -d": failed > 0}.get(said["peer"])
        target = {"nothing": "0", "compose up -d": "seen"}.get(said["peer"], "–")
        replicas = said["replicas"]
        what = f"{said['peer']}, {replicas} {'replica' if replicas == 1 else 'replicas'} on one host"
        number = "none" if said["peer"] == "nothing" else "1"
        rows.append(cell_row(what, number, f"{sent:,}", str(failed), target, known))
    return rows


COMPOSE = """name: theirs
services:
  api:
    image: ${IMAGE}
    restart: unless-stopped
    deploy: { replicas: 3 }
    healthcheck:
      test: ["CMD", "/shopd", "health"]
      interval: 1s
      timeout: 2s
      retries: 5
      start_period: 2s
    stop_grace_period: 10s
"""


def speed(context):
    """The same service rolled by docker-rollout's method on its host and by us from outside: a row of
    times, which may be measured again."""
    wipe()
    images = (LAB / "images").read_text().split()
    image = {v: next(i for i in images if f"shop-api:{v}@" in i).split("@")[0] for v in ("v1", "v2")}
    put("h1", "/srv/theirs/compose.yml", COMPOSE.encode())
    put("h1", "/srv/theirs/roll", (ROOT / "tests" / "lab" / "docker-rollout").read_bytes(), "755")
    lab("exec", "h1", "sh", "-c", f"docker pull -q {image['v1']}; docker pull -q {image['v2']}")
    lab("exec", "h1", "sh", "-c", f"cd /srv/theirs; IMAGE={image['v1']} docker compose up -d --wait")
    edge = Edge(context, "staging", 3)
    edge.run("apply")
    taken = {"ours": [], "theirs": []}
    for turn in range(2 * TIMED):
        version = ("v2", "v1")[turn % 2]
        roll = f"cd /srv/theirs && IMAGE={image[version]} ./roll rollout -f compose.yml api"
        words = ["ssh", "-F", LAB / "ssh_config", "app-1", roll]
        began = time.perf_counter()
        subprocess.run(words, check=True, capture_output=True)
        taken["theirs"].append(time.perf_counter() - began)
        taken["ours"].append(edge.run("deploy", version))
    ours, theirs = (statistics.median(taken[name]) for name in ("ours", "theirs"))
    return [
        row(
            f"rollout of 3 replicas on one host, {2 * TIMED} each in turns",
            seconds(ours),
            "docker-rollout's method on the host, over `ssh`",
            seconds(theirs),
            times(ours / theirs),
            "at most 1 ×",
            ours <= theirs,
        )
    ]


def dropped(context):
    """What ours drops. These rows are final: a request that was dropped once was dropped."""
    program = meter(context)
    rows = []
    for environment in PLACES:
        for replicas in (1, 3):
            rows.append(drops(context, program, environment, replicas))
            print(" ".join(rows[-1]["cells"]), flush=True)
    return rows
