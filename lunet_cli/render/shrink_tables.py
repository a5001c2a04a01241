"""A network and the smaller one that was made of it, as a table."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from lunet_cli.results.evaluation import NonInferiority
from lunet_cli.results.shrinking import NetworkCost, ShrinkComparison, ShrinkResult
from lunet_cli.results.words import format_seconds, plural, visible


def shrink_table(result: ShrinkResult) -> RenderableType:
    """What was before, what is now, and whether that is as good."""
    pruning, found = result.pruning, result.comparison
    num_steps = plural(len(pruning.steps) - 1, "step")
    end = f"{num_steps} in {format_seconds(pruning.seconds)} ({pruning.reason})"
    title = Text(f"\n{visible(pruning.architecture)}: {end}", "bold")
    place = Text(f"run folder {visible(pruning.run_dir)}")
    if found is None:
        return Group(title, place)
    if not found.is_smaller:
        return Group(title, Text(_refusal(found)), Text(), place)
    return Group(title, _networks(found), Text(), Text(_verdict(found), "dim"), Text(), place)


def _refusal(found: ShrinkComparison) -> str:
    """That nothing could be removed, and by how much, in lines that fit a narrow terminal."""
    told = (
        "Nothing could be removed: each smaller network may lose more than a\n"
        f"Dice of {found.difference.margin:g} over {_cases(found.difference)}."
    )
    if found.nearest is None:
        return told
    low, high = found.nearest.interval
    return (
        f"{told}\nThe nearest changed it by {found.nearest.mean:+.4f} "
        f"(95 % CI {low:+.4f} to {high:+.4f})."
    )


def _networks(found: ShrinkComparison) -> Table:
    before, after = found.before, found.after
    table = Table(box=None, pad_edge=False)
    table.add_column("", style="dim", no_wrap=True)
    for heading in ("before", "after", ""):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, values, ends in (
        ("parameters", (before.parameters, after.parameters), "{:,.0f}"),
        ("channels", (before.num_channels, after.num_channels), "{:,.0f}"),
        ("GFLOP at 64^3", (before.flops / 1e9, after.flops / 1e9), "{:.3f}"),
        ("file, KiB", (before.size_bytes / 1024, after.size_bytes / 1024), "{:,.0f}"),
    ):
        table.add_row(name, *map(ends.format, values), f"{values[0] / values[1]:.1f} x less")
    _add_times(table, before, after)
    difference = f"{found.difference.mean:+.4f}"
    table.add_row("validation Dice", f"{before.dice:.4f}", f"{after.dice:.4f}", difference)
    return table


def _add_times(table: Table, before: NetworkCost, after: NetworkCost) -> None:
    """How long the networks take, and in which way; nothing where one was not timed."""
    first, second = before.pass_time, after.pass_time
    if first is None or second is None:
        return
    table.add_row(
        "batch of windows, ms",
        f"{first.milliseconds:.1f}",
        f"{second.milliseconds:.1f}",
        f"{first.milliseconds / second.milliseconds:.1f} x as fast",
    )
    table.add_row("  computed by", first.how, second.how, "")


def _verdict(found: ShrinkComparison) -> str:
    """What the difference of Dice says, in lines that fit a narrow terminal."""
    low, high = found.difference.interval
    lines = [
        f"Dice changes by {low:+.4f} to {high:+.4f} (95 % CI, paired, bootstrap over",
        f"{_cases(found.difference)}): at most {found.difference.margin:g} is lost.",
        "Other cases than these tell how good it is: they have chosen it.",
    ]
    if found.before.pass_time is not None:
        batch, _, *window = found.batch
        voxels = " x ".join(map(str, window))
        lines.insert(0, f"Both were timed in turns, on {plural(batch, 'window')} of {voxels}.")
    return "\n".join(lines)


def _cases(difference: NonInferiority) -> str:
    return plural(difference.num_cases, "validation case")
