"""Networks as drawings: blocks as wide as their channels."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import EngFormatter, MaxNLocator

from lunet_cli.render.figures.style import FULL_WIDTH, new_figure, styled, unit
from lunet_cli.render.networks import Drawing, Level, Scale, compared, room
from lunet_cli.render.palette import RGB, label_colors

_ROW = 0.42  # inches per level
_HEIGHT = 0.55  # of a block, in levels
_GAP = 0.06  # between blocks, in widths of the drawing
_LEAST_WIDTH = 0.008  # of a block, in widths of the drawing: what a printer still shows
_ARROW = {"arrowstyle": "->", "color": "0.5", "linewidth": 0.7, "shrinkA": 0, "shrinkB": 0}
# Free space beside the longest bar, for the number behind it, in lengths of that bar.
_BESIDE = 1.35


@styled
def networks_figure(drawings: Sequence[Drawing]) -> Figure:
    """A row per network, all at one scale: blocks, skips, parameters and FLOPs of each level."""
    figure = new_figure(FULL_WIDTH, sum(_ROW * len(drawing.levels) + 0.8 for drawing in drawings))
    scale = Scale.of(drawings, _GAP)
    orange, sky = label_colors(2)
    rows = figure.subplots(len(drawings), 3, squeeze=False)
    for drawing, (blocks, parameters, flops) in zip(drawings, rows, strict=True):
        _draw_blocks(blocks, drawing, scale.width_per_channel)
        values = [level.parameters for level in drawing.levels]
        _draw_bars(parameters, values, scale.parameters, sky, [*map("{:,}".format, values)])
        parameters.set_xlabel("parameters per level")
        values = [level.flops for level in drawing.levels]
        _draw_bars(flops, values, scale.flops, orange, [*map(EngFormatter(places=1), values)])
        flops.set_xlabel("FLOPs per level")
    if len(drawings) == 2:
        figure.supxlabel(compared(*drawings), fontsize=8)
    return figure


def _draw_bars(
    axes: Axes, values: Sequence[int], most: int, color: RGB, texts: Sequence[str]
) -> None:
    bars = axes.barh(range(len(values)), values, color=unit(color), height=_HEIGHT)
    axes.bar_label(bars, texts, padding=2, fontsize=6)
    axes.set_xlim(0, most * _BESIDE)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(EngFormatter())
    axes.set_ylim(*_limits(len(values)))
    axes.set_yticks([])


def _limits(num_levels: int) -> tuple[float, float]:
    """From below the deepest level to above the headings: bars stand beside their levels."""
    return num_levels - 0.5, -0.9


def _draw_blocks(axes: Axes, drawing: Drawing, width_per_channel: float) -> None:
    number = len(drawing.levels)
    for index, level in enumerate(drawing.levels):
        _draw_level(axes, index, level, width_per_channel, room(index, number))
    axes.text(-0.04, -0.75, "voxels", ha="right", fontsize=6, color="0.4")
    axes.text(1.04, -0.75, "channels", ha="left", fontsize=6, color="0.4")
    axes.set_xlim(-0.2, 1.2)
    axes.set_ylim(*_limits(number))
    axes.axis("off")
    parameters = f"{drawing.parameters:,}"
    if drawing.parameters >= 1_000_000:
        parameters = f"{drawing.parameters / 1e6:.2f} M"
    cost = f"{drawing.flops / 1e9:.2f} GFLOP at {drawing.levels[0].edge}³"
    axes.set_title(f"{drawing.name}\n{parameters} parameters, {cost}", loc="left", fontsize=8)


def _draw_level(
    axes: Axes, index: int, level: Level, width_per_channel: float, level_room: float
) -> None:
    """The blocks of a level from left to right, with arrows for the skips between them."""
    color = unit(label_colors(3)[2])
    width = max(_LEAST_WIDTH, level.channels * width_per_channel)
    centres = [0.5]
    if level.num_nodes > 1:
        reach = level_room - width
        centres = (0.5 + reach * np.linspace(-0.5, 0.5, level.num_nodes)).tolist()
    for first, second in pairwise(centres):
        start, end = (first + width / 2, index), (second - width / 2, index)
        axes.annotate("", end, start, arrowprops=_ARROW)
    for centre in centres:
        corner = (centre - width / 2, index - _HEIGHT / 2)
        axes.add_patch(Rectangle(corner, width, _HEIGHT, color=color))
    axes.text(-0.04, index, f"{level.edge}³", ha="right", va="center", fontsize=6)
    axes.text(1.04, index, f"{level.channels}", ha="left", va="center", fontsize=6)
