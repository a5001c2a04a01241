"""`channels.csv`: the channels of every layer while a network was pruned."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lunet_cli.errors import DataError
from lunet_cli.records.table import read_table, table_text
from lunet_cli.results.pruning import PruningStep
from lunet_cli.results.views import ChannelHistory

_WHAT = "a table of channels"
_HINT = "A column step, one per layer, a row per step."


def channels_text(steps: Sequence[PruningStep]) -> str:
    """A line per step; without any step, nothing.

    Args:
        steps: Steps of one pruning: all have the layers of the first.
    """
    if not steps:
        return ""
    layers = list(steps[0].widths)
    rows: list[list[int]] = []
    for step in steps:
        rows.append([step.step, *(step.widths[layer] for layer in layers)])
    return table_text(["step", *layers], rows)


def read_channels_table(path: Path, name: str) -> ChannelHistory:
    """Read the channels of a run: a column `step`, and one with the channels of each layer.

    Args:
        path: The file.
        name: What the run is called.

    Raises:
        DataError: It is missing or damaged.
    """
    table = read_table(path)
    layers = table.header[1:]
    if table.header[:1] != ("step",) or not layers or not table.lines:
        raise DataError(f"{path}: is not {_WHAT}: it has no step, or no layer", hint=_HINT)
    steps: list[int] = []
    channels: dict[str, list[int]] = {layer: [] for layer in layers}
    lowest = 0
    for row in table.rows():
        steps.append(row.count("step", lowest=lowest))
        lowest = steps[-1] + 1
        for layer in layers:
            channels[layer].append(row.count(layer, lowest=1))
    return ChannelHistory(
        name, tuple(steps), dict(zip(layers, map(tuple, channels.values()), strict=True))
    )
