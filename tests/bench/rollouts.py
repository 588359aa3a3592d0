"""What a rollout costs those who are served: every request that fails while versions change, beside what
other ways of rolling drop; and how long a rollout takes beside docker-rollout's method."""

import json
import os
import pathlib
import shutil
import statistics
import subprocess
import time

import hosts
from hosts import LAB, lab, place_for_a_lab, put
from measure import Failed, seconds, times

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
# How often each configuration rolls, before it fails once and goes back once.
ROLLOUTS = int(os.environ.get("ROLLOUTS", "20"))
RATE = 200
# Environment of fixtures/edge, where it answers, and where its api runs, in words.
PLACES = {
    "staging": ("10.99.0.11:80", "on one host, with its gateway"),
    "production": ("10.99.0.13:80", "on each of two hosts, behind a third"),
}
TIMED = 5


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
    """A steady load, without a retry, until its end."""

    def __init__(self, program, address):
        words = [program, address, "--rate", str(RATE), "--seconds", "7200", "--until-eof"]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def end(self):
        """What it has seen."""
        out, _ = self.process.communicate()
        return json.loads(out)


class Edge:
    """fixtures/edge in a folder of its own, as its operator works with it."""

    def __init__(self, context, environment, replicas):
        self.ours = context.ours
        self.environment = environment
        self.folder = context.target / "edge" / f"{environment}-{replicas}"
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(ROOT / "fixtures" / "edge", self.folder)
        config = self.folder / "stagecraft.yml"
        settings = f"    api: {{ replicas: {replicas} }}\n    hosts:\n"
        config.write_text(config.read_text().replace("    hosts:\n", settings))

    def run(self, *words, exits=0):
        """Runs a verb; how long it took, in seconds."""
        env = {**os.environ, "STAGECRAFT_SSH_CONFIG": str(LAB / "ssh_config")}
        words = [self.ours, *words, "--yes", "--env", self.environment]
        began = time.perf_counter()
        ran = subprocess.run(words, cwd=self.folder, env=env, capture_output=True, text=True)
        took = time.perf_counter() - began
        if ran.returncode != exits:
            raise Failed(f"{words[1:]}: exit {ran.returncode}\n{ran.stdout}{ran.stderr}")
        return took


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
    load = Load(program, address)
    for turn in range(ROLLOUTS):
        edge.run("deploy", ("v2", "v3", "v1")[turn % 3])
    edge.run("deploy", "bad", exits=1)
    edge.run("rollback", "--to", str(max(1, ROLLOUTS - 1)))
    seen = load.end()
    if seen["failed"]:
        (context.target / "failures.json").write_text(json.dumps(seen, indent=1))
    what = f"{replicas} {'replica' if replicas == 1 else 'replicas'} {place}"
    number = f"{ROLLOUTS}, one that fails, one back"
    failed = seen["failed"]
    return cell_row(what, number, f"{seen['sent']:,}", str(failed), "0", failed == 0)


def peers(context):
    """What others drop of the same load in one rollout; the meter must have seen it."""
    program = ROOT / "tests" / "bench" / "rollout" / "peers"
    with place_for_a_lab() as place:
        env = {**os.environ, "STAGECRAFT_LAB": str(place)}
        ran = subprocess.run([program, "1", "3"], env=env, stdout=subprocess.PIPE, check=True)
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
    """The same service rolled by docker-rollout's method on its host and by us from outside."""
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
    what = "time of a rollout, 3 replicas on one host: ours beside docker-rollout's method"
    number = f"{2 * TIMED} each, in turns"
    return cell_row(what, number, f"{seconds(ours)} beside {seconds(theirs)}",
                    times(ours / theirs), "at most 1 ×", ours <= theirs)


def measure(context):
    """The rows of this part. They are final: a request that was dropped once was dropped."""
    print(hosts.lab("up", "3"), flush=True)
    program = meter(context)
    rows = []
    for environment in PLACES:
        for replicas in (1, 3):
            rows.append(drops(context, program, environment, replicas))
            print(" ".join(rows[-1]["cells"]), flush=True)
    rows.append(speed(context))
    print(" ".join(rows[-1]["cells"]), flush=True)
    return rows
