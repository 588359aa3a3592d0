"""Plans against the hosts of a lab: one with an engine beside Docker Compose, many light ones
beside bare `ssh` and beside other tools that ask hosts in parallel."""

import base64
import contextlib
import os
import pathlib
import shlex
import shutil
import statistics
import subprocess
import tempfile

from measure import Command, interleave, row, seconds, skipped, times

LIGHT_HOSTS = int(os.environ.get("BENCH_LIGHT_HOSTS", "30"))
FLOOR = 1.25
LAB = pathlib.Path(os.environ.get("STAGECRAFT_LAB", "/nowhere"))
CONTROL = pathlib.Path(__file__).resolve().parent.parent / "lab" / "lab"


@contextlib.contextmanager
def place_for_a_lab():
    """Where a lab can keep its state, beside any other lab. Its last name has to be its own as well:
    control groups are called after it, and a lab that is taken down removes all below that name."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="stagecraft-bench."))
    try:
        yield folder / folder.name
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def lab(*words, stdin=None):
    """Runs the lab's own tool; what it printed."""
    found = subprocess.run([CONTROL, *words], input=stdin, capture_output=True)
    if found.returncode:
        raise RuntimeError(f"lab {words[0]}: {found.stderr.decode()}{found.stdout.decode()}")
    return found.stdout.decode()


def put(host, path, data, mode="644"):
    """Writes a file on a host."""
    script = f'mkdir -p "$(dirname {path})" && cat >{path} && chmod {mode} {path}'
    lab("exec", host, "sh", "-c", script, stdin=data)


# ---- one host, beside Docker Compose ------------------------------------------------------------

NOOP_ROUNDS = 15
# Bash takes the time itself: nothing of it is spent on getting into the host.
CLOCK = r"""
set -eu
a() { cd /srv/$1 && stagecraft plan --detailed-exitcode; }
b() { docker compose -p $1-bench -f /var/lib/stagecraft/$1/bench/compose.yml up -d; }
a $1 >/dev/null && b $1 >/dev/null 2>&1
for i in $(seq $2); do
  for it in a b; do
    t=${EPOCHREALTIME/./}
    $it $1 >/dev/null 2>&1 || { echo "failed $it"; exit 1; }
    echo $it $((${EPOCHREALTIME/./} - t))
  done
done
"""


def noop(context):
    """A plan with no changes beside a no-op `docker compose up -d`."""
    put("h1", "/usr/local/bin/stagecraft", context.ours.read_bytes(), "755")
    image = next(
        line.split()[0].partition("@")[0]
        for line in (LAB / "images").read_text().splitlines()
        if "shop-api:v1" in line
    )
    rows = []
    for name, services in (("single", ["api"]), ("pair", ["api", "web"])):
        compose = f"name: {name}\nservices:\n"
        for service in services:
            compose += f"  {service}:\n    image: {image}\n    environment: {{ NAME: {service} }}\n"
        config = (
            f"project: {{ name: {name} }}\n"
            "environments:\n  bench:\n    state: { store: local }\n"
            "    hosts: { app: [{ name: here, address: 127.0.0.1, transport: local }] }\n"
        )
        if len(services) > 1:
            config += "services:\n" + "".join(f"  {s}: {{ role: app }}\n" for s in services)
        put("h1", f"/srv/{name}/docker-compose.yml", compose.encode())
        put("h1", f"/srv/{name}/stagecraft.yml", config.encode())
        lab("exec", "h1", "sh", "-c", f"cd /srv/{name} && stagecraft apply --yes")
        said = lab("exec", "h1", "bash", "-c", CLOCK, "clock", name, str(NOOP_ROUNDS))
        taken = {"a": [], "b": []}
        for line in said.splitlines():
            which, micros = line.split()
            taken[which].append(int(micros) / 1e6)
        ours, theirs = statistics.median(taken["a"]), statistics.median(taken["b"])
        count = "one service" if len(services) == 1 else f"{len(services)} services"
        rows.append(
            row(
                f"plan with no changes on one local host, {count}",
                seconds(ours),
                "no-op `docker compose up -d` of the same file",
                seconds(theirs),
                times(ours / theirs),
                "at most 1 ×",
                ours <= theirs,
            )
        )
    return rows


# ---- many light hosts ---------------------------------------------------------------------------

# Takes down what `ssh` was called with and what it was sent.
SPY = """#!/bin/sh
n=$(mktemp "$BENCH_SPY/XXXXXX")
for word; do printf '%s\\0' "$word"; done >"$n.args"
tee "$n.script" | {ssh} "$@"
"""


class Fleet:
    """Light hosts with an engine that is there and has nothing."""

    def __init__(self, context):
        self.context = context
        self.folder = context.target / "fleet"
        shutil.rmtree(self.folder, ignore_errors=True)
        self.project = self.folder / "project"
        self.project.mkdir(parents=True)
        self.names = [f"l{number}" for number in range(1, LIGHT_HOSTS + 1)]
        self.addresses = [f"10.99.0.{100 + n}" for n in range(1, LIGHT_HOSTS + 1)]
        self.runtime = LAB.parent / "run"
        self.runtime.mkdir(mode=0o700, exist_ok=True)
        self.env = {
            "STAGECRAFT_SSH_CONFIG": str(LAB / "ssh_config"),
            "XDG_RUNTIME_DIR": str(self.runtime),
            "HOME": str(self.runtime),
        }
        for name in self.names:
            put(name, "/usr/local/bin/docker", b"#!/bin/sh\nexit 0\n", "755")
        hosts = ", ".join(
            f"{{ name: {name}, address: {address} }}"
            for name, address in zip(self.names, self.addresses)
        )
        (self.project / "stagecraft.yml").write_text(
            "project: { name: fleet }\n"
            f"environments:\n  bench:\n    hosts: {{ app: [{hosts}] }}\n"
            "services: { web: { role: app } }\n"
        )
        (self.project / "docker-compose.yml").write_text(
            "name: fleet\nservices:\n  web: { image: registry.example/web:v1 }\n"
        )
        self.calls = self.spy()

    def spy(self):
        """One of our plans as `ssh` sees it: arguments and script, host by host."""
        folder = self.folder / "spy"
        programs = folder / "bin"
        programs.mkdir(parents=True)
        spy = programs / "ssh"
        spy.write_text(SPY.replace("{ssh}", shutil.which("ssh")))
        spy.chmod(0o755)
        env = {"PATH": f"{programs}:{os.environ['PATH']}", "BENCH_SPY": str(folder)}
        self.ours({**self.env, **env}).run()
        calls = []
        for args in sorted(folder.glob("*.args")):
            words = args.read_bytes().decode().split("\0")[:-1]
            calls.append((words, args.with_suffix(".script")))
        if len(calls) != LIGHT_HOSTS:
            raise RuntimeError(f"{len(calls)} calls of ssh for {LIGHT_HOSTS} hosts")
        return calls

    def ours(self, env=None, before=None):
        """Our plan: every host is new, so all is to be made and none is blocked."""
        argv = [self.context.ours, "plan", "--detailed-exitcode"]
        return Command(argv, cwd=self.project, env=env or self.env, exits=2, before=before)

    def floor(self, before=None):
        """The same scripts to the same hosts over the same connections, by `ssh` and a shell."""
        script = self.folder / "floor.sh"
        lines = [
            f"ssh {shlex.join(words)} <{shlex.quote(str(sent))} >/dev/null &"
            for words, sent in self.calls
        ]
        script.write_text("\n".join([*lines, "wait", ""]))
        return Command(["sh", script], env=self.env, before=before)

    def hang_up(self):
        """Ends the shared connections, so that the next run has to log in."""
        commands = [
            ["ssh", *words[:end], "-O", "exit", "--", words[end + 1]]
            for words, _ in self.calls
            for end in [words.index("--")]
        ]
        for path in self.runtime.glob("ansible/*"):
            commands.append(["ssh", "-o", f"ControlPath={path}", "-O", "exit", "x"])
        nothing = {name: subprocess.DEVNULL for name in ("stdin", "stdout", "stderr")}
        env = {**os.environ, **self.env}
        ending = [subprocess.Popen(argv, env=env, **nothing) for argv in commands]
        for process in ending:
            process.wait()

    def one_line(self):
        """The script as one word of a command line, for tools that send no script of their own."""
        text = self.calls[0][1].read_bytes()
        return f"echo {base64.b64encode(text).decode()} | base64 -d | sh"

    def ansible(self, program, before=None):
        """Ansible's way with the least round trips: one `raw` command on all hosts at once."""
        inventory = self.folder / "inventory.ini"
        inventory.write_text("\n".join(self.addresses) + "\n")
        env = {
            **self.env,
            "ANSIBLE_SSH_ARGS": f"-F {LAB}/ssh_config -o ControlMaster=auto -o ControlPersist=60s",
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self.runtime / "ansible"),
            "ANSIBLE_LOCALHOST_WARNING": "False",
            "ANSIBLE_HOME": str(self.runtime / "ansible-home"),
        }
        argv = [program, "all", "-i", inventory, "-f", LIGHT_HOSTS, "-m", "raw", "-a"]
        return Command([*argv, self.one_line()], env=env, before=before)

    def pyinfra(self, program):
        """pyinfra gathering one fact on all hosts at once."""
        data = {
            "ssh_user": "root",
            "ssh_key": str(LAB / "id"),
            "ssh_known_hosts_file": str(LAB / "known_hosts"),
        }
        inventory = self.folder / "inventory.py"
        inventory.write_text(f"hosts = {[(address, data) for address in self.addresses]!r}\n")
        deploy = self.folder / "deploy.py"
        deploy.write_text(
            "from pyinfra import host\nfrom pyinfra.facts.server import Command\n"
            f"host.get_fact(Command, command={self.one_line()!r})\n"
        )
        argv = [program, "-y", "--parallel", LIGHT_HOSTS, inventory, deploy]
        return Command(argv, cwd=self.folder, env=self.env)


def fleet(context):
    """A plan over many hosts beside what asking them costs in any case, and beside others."""
    hosts = Fleet(context)
    try:
        return fleet_rows(context, hosts)
    finally:
        hosts.hang_up()


def fleet_rows(context, hosts):
    rows = []
    for words, before, rounds in (("cold", hosts.hang_up, 5), ("warm", None, 11)):
        commands = {"ours": hosts.ours(before=before), "floor": hosts.floor(before=before)}
        if before is None:
            interleave(commands, 1)
        medians = interleave(commands, rounds)
        ratio = medians["ours"] / medians["floor"]
        rows.append(
            row(
                f"plan over {LIGHT_HOSTS} hosts, connections {words}",
                seconds(medians["ours"]),
                "the same scripts by bare `ssh`, all hosts in parallel",
                seconds(medians["floor"]),
                times(ratio),
                f"at most {FLOOR} ×",
                ratio <= FLOOR,
            )
        )
    for name, make in (("ansible", hosts.ansible), ("pyinfra", hosts.pyinfra)):
        program = context.venv / "bin" / name
        if not program.exists():
            skipped(f"fleet beside {name}", "it is not installed; .ci/run install installs it")
            continue
        peer = make(program)
        peer.before = hosts.hang_up
        commands = {"ours": hosts.ours(before=hosts.hang_up), "theirs": peer}
        medians = interleave(commands, 3)
        rows.append(
            row(
                f"plan over {LIGHT_HOSTS} hosts, connections cold",
                seconds(medians["ours"]),
                f"{name} asking them the same",
                seconds(medians["theirs"]),
                f"{times(medians['theirs'] / medians['ours'])} faster",
                "faster",
                medians["ours"] < medians["theirs"],
            )
        )
    return rows
