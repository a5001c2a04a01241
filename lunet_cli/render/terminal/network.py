"""A network as a drawing: channels, resolution and cost of each level."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.style import Style
from rich.table import Table
from rich.text import Text

from lunet_cli.render.networks import Drawing, Level, compared, room, width_per_channel
from lunet_cli.render.palette import label_colors, to_hex
from lunet_cli.render.terminal.screen import Screen

_DRAWING = 23  # columns
_GAP = 2  # between two blocks, for the head of an arrow
_FIGURES = (
    6 + 8 + 1 + 8 + 2 * 3
)  # columns of voxels, channels, the spaces before bars, GFLOP, and between all of them
_LEAST_BAR, _LONGEST_BAR = 4, 24


def draw_networks(drawings: Sequence[Drawing], screen: Screen) -> RenderableType:
    """Networks at one scale: a block is as wide as its channels, a bar as long as the parameters and FLOPs."""
    levels = [level for drawing in drawings for level in drawing.levels]
    most = Level(
        max(level.edge for level in levels),
        max(level.channels for level in levels),
        max(level.num_nodes for level in levels),
        max(level.parameters for level in levels),
        max(level.flops for level in levels),
    )
    columns_per_channel = _DRAWING * width_per_channel(drawings, _GAP / _DRAWING)
    parts: list[RenderableType] = []
    for drawing in drawings:
        parts += [
            Text(drawing.title, "bold"),
            _table(drawing, most, columns_per_channel, screen),
            Text(),
        ]
    if len(drawings) == 2:
        first, second = drawings
        parts.append(Text(compared(first, second)))
    return Group(*parts)


def _table(drawing: Drawing, most: Level, columns_per_channel: float, screen: Screen) -> Table:
    figures = max(7, len(f"{most.parameters:,}"))  # With a short bar, as wide as its heading.
    rest = screen.width - _FIGURES - figures
    has_blocks = rest >= _DRAWING + 2 + 2 * _LEAST_BAR
    bar = max(0, min(_LONGEST_BAR, (rest - (_DRAWING + 2) * has_blocks) // 2))
    table = Table(box=None, pad_edge=False)
    table.add_column("voxels", justify="right", no_wrap=True)
    table.add_column("channels", justify="right", no_wrap=True)
    if has_blocks:
        table.add_column("", no_wrap=True, justify="center", min_width=_DRAWING)
    table.add_column("parameters", no_wrap=True, min_width=figures + 1 + bar)
    table.add_column("GFLOP", no_wrap=True)
    blue, orange = label_colors(2)[1], label_colors(2)[0]
    for index, level in enumerate(drawing.levels):
        table.add_row(
            f"{level.edge}^3",
            str(level.channels),
            *(
                [
                    _blocks(
                        level,
                        round(_DRAWING * room(index, len(drawing.levels))),
                        columns_per_channel,
                    )
                ]
                if has_blocks
                else []
            ),
            _bar(
                f"{level.parameters:>{figures},}",
                level.parameters / most.parameters,
                bar,
                blue,
                screen,
            ),
            _bar(f"{level.flops / 1e9:7.3f}", level.flops / most.flops, bar, orange, screen),
        )
    return table


def _blocks(level: Level, columns: int, columns_per_channel: float) -> Text:
    """The blocks of a level from left to right, with arrows for the skips between them."""
    width = max(1, int(level.channels * columns_per_channel))
    if level.num_nodes == 1:
        text = "█" * width
    else:
        gap = max(_GAP, (columns - width * level.num_nodes) // (level.num_nodes - 1))
        text = ("─" * (gap - 1) + "▶").join("█" * width for _ in range(level.num_nodes))
    return Text(text, justify="center", no_wrap=True)


def _bar(
    figure: str, share: float, width: int, color: tuple[int, int, int], screen: Screen
) -> Text:
    cells = share * width
    text = Text(f"{figure} " if width else figure, no_wrap=True)
    filled = "█" * int(cells) + (" ▏▎▍▌▋▊▉"[int(cells % 1 * 8)] if cells % 1 else "")
    return text.append(
        filled.strip() or "▏"[:width], Style(color=to_hex(color)) if screen.colors else None
    )
