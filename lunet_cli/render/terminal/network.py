"""A network as a drawing: channels, resolution and cost of each level."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from lunet_cli.render.networks import Drawing, Level, Scale, compared, room
from lunet_cli.render.palette import RGB, label_colors
from lunet_cli.render.terminal.screen import Screen

_DRAWING = 23  # columns
_GAP = 2  # between two blocks, for the head of an arrow
# Columns of voxels, channels, the spaces before bars, GFLOP, and between all of them.
_FIGURES = 6 + 8 + 1 + 8 + 2 * 3
_LEAST_BAR, _LONGEST_BAR = 4, 24
_EIGHTHS = " ▏▎▍▌▋▊▉"


def draw_networks(drawings: Sequence[Drawing], screen: Screen) -> RenderableType:
    """Networks at one scale: blocks as wide as their channels, bars for parameters and FLOPs."""
    scale = Scale.of(drawings, _GAP / _DRAWING)
    parts: list[RenderableType] = []
    for drawing in drawings:
        parts += [Text(drawing.title, "bold"), _table(drawing, scale, screen), Text()]
    if len(drawings) == 2:
        first, second = drawings
        parts.append(Text(compared(first, second)))
    return Group(*parts)


def _table(drawing: Drawing, scale: Scale, screen: Screen) -> Table:
    # With a short bar, as wide as the heading.
    figures = max(7, len(f"{scale.parameters:,}"))
    rest = screen.width - _FIGURES - figures
    has_blocks = rest >= _DRAWING + 2 + 2 * _LEAST_BAR
    if has_blocks:
        rest -= _DRAWING + 2
    bar = max(0, min(_LONGEST_BAR, rest // 2))
    table = Table(box=None, pad_edge=False)
    table.add_column("voxels", justify="right", no_wrap=True)
    table.add_column("channels", justify="right", no_wrap=True)
    if has_blocks:
        table.add_column("", no_wrap=True, justify="center", min_width=_DRAWING)
    table.add_column("parameters", no_wrap=True, min_width=figures + 1 + bar)
    table.add_column("GFLOP", no_wrap=True)
    orange, blue = label_colors(2)
    for index, level in enumerate(drawing.levels):
        cells = [Text(f"{level.edge}^3"), Text(str(level.channels))]
        if has_blocks:
            columns = round(_DRAWING * room(index, len(drawing.levels)))
            cells.append(_blocks(level, columns, _DRAWING * scale.width_per_channel))
        parameters = Text(f"{level.parameters:>{figures},}", no_wrap=True)
        gflop = Text(f"{level.flops / 1e9:7.3f}", no_wrap=True)
        if bar:
            _add_bar(parameters, bar * level.parameters / scale.parameters, blue, screen)
            _add_bar(gflop, bar * level.flops / scale.flops, orange, screen)
        table.add_row(*cells, parameters, gflop)
    return table


def _blocks(level: Level, columns: int, columns_per_channel: float) -> Text:
    """The blocks of a level from left to right, with arrows for the skips between them."""
    block = "█" * max(1, int(level.channels * columns_per_channel))
    text = block
    if level.num_nodes > 1:
        free = columns - len(block) * level.num_nodes
        gap = max(_GAP, free // (level.num_nodes - 1))
        arrow = "─" * (gap - 1) + "▶"
        text = arrow.join([block] * level.num_nodes)
    return Text(text, justify="center", no_wrap=True)


def _add_bar(text: Text, cells: float, color: RGB, screen: Screen) -> None:
    """Write a bar of so many characters behind a number; one for very little is still seen."""
    bar = "█" * int(cells) + _EIGHTHS[int(cells % 1 * len(_EIGHTHS))]
    text.append(" ").append(bar.strip() or "▏", screen.style_of(color))
