"""Starting up."""

from measure import Command, interleave, row, seconds, times

LIMIT = 0.010


def measure(context):
    """The rows of this part."""
    commands = {
        "ours": Command([context.ours, "--version"]),
        "floor": Command(["/bin/true"]),
    }
    medians = interleave(commands, 60)
    return [
        row(
            "`stagecraft --version`",
            seconds(medians["ours"]),
            "`/bin/true`",
            seconds(medians["floor"]),
            times(medians["ours"] / medians["floor"]),
            "below 10 ms",
            medians["ours"] < LIMIT,
        )
    ]
