"""Channels per layer over the steps of a pruning."""

from __future__ import annotations

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from lunet_cli.render.terminal.screen import Screen
from lunet_cli.results.views import ChannelHistory
from lunet_cli.results.words import plural

_BARS = np.array(list("▁▂▃▄▅▆▇█"))
_REST = 44  # columns of everything but the bars
_LEAST_BARS, _MOST_BARS = 8, 60


def draw_channels(history: ChannelHistory, screen: Screen) -> RenderableType:
    """A row per layer: channels at first, the share that is left at each step, and at the end."""
    width = max(_LEAST_BARS, min(_MOST_BARS, screen.width - _REST))
    table = Table(box=None, pad_edge=False)
    table.add_column("layer", overflow="fold")
    table.add_column(f"step {history.steps[0]}", justify="right")
    table.add_column("")
    table.add_column(f"step {history.steps[-1]}", justify="right")
    first = last = 0
    for name, values in history.layers.items():
        table.add_row(name, str(values[0]), _bars(values, width), str(values[-1]))
        first += values[0]
        last += values[-1]
    layers = plural(len(history.layers), "layer")
    told = f"{history.name}: {plural(first, 'channel')} in {layers}, {last:,} at the end"
    return Group(Text(told, "bold"), table)


def _bars(values: tuple[int, ...], width: int) -> str:
    """A bar for each of at most `width` steps, the first and the last among them."""
    number = min(width, len(values))
    places = np.arange(number) * (len(values) - 1) // max(1, number - 1)
    # Rounded up, so that no layer with a channel seems empty.
    heights = -(-np.array(values)[places] * len(_BARS) // max(values))
    return "".join(_BARS[np.maximum(heights, 1) - 1])
