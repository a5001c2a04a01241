"""Channels per layer over the steps of a pruning."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from lunet_cli.render.terminal.screen import Screen
from lunet_cli.results.views import ChannelHistory
from lunet_cli.results.words import plural

_BARS = "▁▂▃▄▅▆▇█"
_REST = 44  # columns of everything but the course


def draw_channels(course: ChannelHistory, screen: Screen) -> RenderableType:
    """A row per layer: channels at the start, the share that is left of them at each step, and at the end."""
    width = max(8, min(60, screen.width - _REST))
    table = Table(box=None, pad_edge=False)
    table.add_column("layer", overflow="fold")
    table.add_column(f"step {course.steps[0]}", justify="right")
    table.add_column("")
    table.add_column(f"step {course.steps[-1]}", justify="right")
    for name, values in course.layers.items():
        number = min(width, len(values))
        shown = [values[index * (len(values) - 1) // max(1, number - 1)] for index in range(number)]
        bars = "".join(_BARS[max(0, -(-value * len(_BARS) // max(values)) - 1)] for value in shown)
        table.add_row(name, str(values[0]), bars, str(values[-1]))
    first, last = (sum(values[index] for values in course.layers.values()) for index in (0, -1))
    layers = plural(len(course.layers), "layer")
    head = Text(
        f"{course.name}: {plural(first, 'channel')} in {layers}, {last:,} at the end", "bold"
    )
    return Group(head, table)
