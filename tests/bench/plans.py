"""Plans of 1,000 and of 10,000 resources in the simulated world, beside Terraform's."""

import json
import pathlib
import shutil

from measure import Command, interleave, mebibytes, row, seconds, skipped, times
from project import Project

# Measured once, on another machine, with 1,000 `terraform_data` resources and edges.
RECORDED = {"seconds": 4.3, "kib": 165 * 1000 * 1000 // 1024}
FASTER, LEANER, LINEAR = 50, 4, 12
SIZES = {"thousand": (10, 100), "hosts": (100, 100), "services": (10, 1000)}
NAMES = {
    "thousand": "1,000 resources (10 hosts)",
    "hosts": "10,000 resources (100 hosts)",
    "services": "10,000 resources (10 hosts)",
}


def measure(context):
    """The rows of this part."""
    folder = context.target / "plans"
    shutil.rmtree(folder, ignore_errors=True)
    commands = {}
    for size, shape in SIZES.items():
        commands.update(prepare(context, folder, size, Project(*shape)))
    plan = {size: commands[size, "nothing"] for size in SIZES}
    rows = beside_terraform(context, folder, plan["thousand"])

    medians = interleave(commands, 5)
    for size in ("hosts", "services"):
        for kind, words in (
            ("nothing", "plan with no changes"),
            ("change", "plan with a tenth of the services changed"),
            ("first", "first plan, all to be made"),
        ):
            ours, small = medians[size, kind], medians["thousand", kind]
            target = f"at most {LINEAR} ×" if kind == "nothing" else "–"
            rows.append(
                row(
                    f"{words}, {NAMES[size]}",
                    f"{seconds(ours)}, {mebibytes(commands[size, kind].peak_kib())}",
                    NAMES["thousand"],
                    f"{seconds(small)}, {mebibytes(commands['thousand', kind].peak_kib())}",
                    times(ours / small),
                    target,
                    ours <= LINEAR * small if kind == "nothing" else None,
                )
            )
    return rows


def prepare(context, folder, size, project):
    """Three projects of a size: one that is in place, one changed since, one to be made."""
    made = folder / size / "nothing"
    project.write(made)
    count = Command([context.worlds], cwd=made).output()
    assert count.split()[0] == str(project.resources), count
    changed, first = folder / size / "change", folder / size / "first"
    project.write(changed, changed_tag="v2")
    shutil.copytree(made / ".stagecraft", changed / ".stagecraft")
    project.write(first)
    plan = [context.ours, "plan", "--detailed-exitcode"]
    commands = {
        (size, "nothing"): Command(plan, cwd=made),
        (size, "change"): Command(plan, cwd=changed, exits=2),
        (size, "first"): Command(plan, cwd=first, exits=2),
    }
    said = commands[size, "first"].output()
    assert f"Plan: {project.resources} to add" in said, said[-300:]
    return commands


def beside_terraform(context, folder, ours):
    """Rows that compare with a plan of the same graph by Terraform."""
    found = next(filter(None, map(shutil.which, ("terraform", "tofu"))), None)
    if found:
        name = pathlib.Path(found).name
        theirs = terraform(folder / name, found)
        medians = interleave({"theirs": theirs, "ours": ours}, 3, each={"ours": 5})
        other, kib = medians["theirs"], theirs.peak_kib()
        beside = f"`{name} plan`, as many `terraform_data` resources and edges"
    else:
        skipped("plan beside terraform", "neither terraform nor tofu is installed")
        medians = interleave({"ours": ours}, 15)
        other, kib = RECORDED["seconds"], RECORDED["kib"]
        beside = "`terraform plan`, **recorded earlier on another machine**, not in this run"
    own_kib = ours.peak_kib()
    what = f"plan with no changes, {NAMES['thousand']}"
    faster, leaner = other / medians["ours"], kib / own_kib
    return [
        row(
            f"{what}: time",
            seconds(medians["ours"]),
            beside,
            seconds(other),
            f"{times(faster)} faster",
            f"at least {FASTER} × faster",
            faster >= FASTER,
        ),
        row(
            f"{what}: peak memory",
            mebibytes(own_kib),
            beside,
            mebibytes(kib),
            f"1/{leaner:.1f}",
            f"at most 1/{LEANER}",
            leaner >= LEANER,
        ),
    ]


def terraform(folder, program):
    """Terraform's plan of the graph, in place already; it needs no provider from outside."""
    env = {"CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1", "TF_CLI_CONFIG_FILE": "/dev/null"}
    version = json.loads(Command([program, "version", "-json"], env=env).output())
    Project(*SIZES["thousand"]).write_terraform(folder, version["terraform_version"])
    Command([program, "init", "-input=false"], cwd=folder, env=env).run()
    plan = [program, "plan", "-detailed-exitcode", "-input=false", "-lock=false", "-no-color"]
    return Command(plan, cwd=folder, env=env)
