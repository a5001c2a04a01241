"""Networks as drawings: blocks as wide as their channels."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import EngFormatter, MaxNLocator

from lunet_cli.render.figures.style import FULL_WIDTH, new_figure, styled, unit
from lunet_cli.render.networks import EDGE, Drawing
from lunet_cli.render.palette import label_colors

_ROW = 0.42  # inches per level
_HEIGHT = 0.55  # of a block, in levels
_WIDEST = 0.26  # of a block, in widths of the drawing


@styled
def networks_figure(drawings: Sequence[Drawing]) -> Figure:
    """A row per network, all at one scale: its blocks and skips, and the parameters and FLOPs of each level."""
    figure = new_figure(FULL_WIDTH, sum(_ROW * len(drawing.levels) + 0.8 for drawing in drawings))
    levels = [level for drawing in drawings for level in drawing.levels]
    most_channels = max(level.channels for level in levels)
    most = {"parameters": max(level.parameters for level in levels), "flops": max(level.flops for level in levels)}
    labels = {"parameters": "parameters per level", "flops": f"FLOPs per level, {EDGE}$^3$ voxels"}
    sky, orange = label_colors(2)[1], label_colors(2)[0]
    for row, drawing in enumerate(drawings):
        first = 3 * row + 1
        axes = figure.add_subplot(len(drawings), 3, first)
        _draw_blocks(axes, drawing, most_channels)
        for column, (key, color) in enumerate((("parameters", sky), ("flops", orange)), start=1):
            axes = figure.add_subplot(len(drawings), 3, first + column)
            values = [getattr(level, key) for level in drawing.levels]
            bars = axes.barh(range(len(values)), values, color=unit(color), height=_HEIGHT)
            texts = [f"{value:,}" if key == "parameters" else f"{value / 1e9:.3f} G" for value in values]
            axes.bar_label(bars, texts, padding=2, fontsize=6)
            axes.set_xlim(0, most[key] * 1.35)
            axes.xaxis.set_major_locator(MaxNLocator(4))
            axes.xaxis.set_major_formatter(EngFormatter())
            axes.set_ylim(len(values) - 0.5, -0.5)
            axes.set_yticks([])
            axes.set_xlabel(labels[key])
    return figure


def _draw_blocks(axes: Axes, drawing: Drawing, most_channels: int) -> None:
    color = unit(label_colors(3)[2])
    deepest = max(1, len(drawing.levels) - 1)
    for index, level in enumerate(drawing.levels):
        width = max(0.008, level.channels / most_channels * _WIDEST)
        inset = 0.42 * index / deepest
        centres = [0.5]
        if level.num_nodes > 1:
            left, right = inset + 0.08, 0.92 - inset
            centres = [left + (right - left) * node / (level.num_nodes - 1) for node in range(level.num_nodes)]
        for first, second in pairwise(centres):
            axes.annotate(
                "",
                (second - width / 2, index),
                (first + width / 2, index),
                arrowprops={"arrowstyle": "->", "color": "0.5", "linewidth": 0.7, "shrinkA": 0, "shrinkB": 0},
            )
        for centre in centres:
            axes.add_patch(Rectangle((centre - width / 2, index - _HEIGHT / 2), width, _HEIGHT, color=color))
        axes.text(-0.02, index, f"{level.edge}$^3$", ha="right", va="center", fontsize=6)
        axes.text(1.02, index, f"{level.channels}", ha="left", va="center", fontsize=6)
    axes.text(-0.02, -0.75, "voxels", ha="right", fontsize=6, color="0.4")
    axes.text(1.02, -0.75, "channels", ha="left", fontsize=6, color="0.4")
    axes.set_xlim(-0.2, 1.2)
    axes.set_ylim(len(drawing.levels) - 0.4, -0.9)
    axes.axis("off")
    million = drawing.parameters >= 1_000_000
    short = f"{drawing.parameters / 1e6:.2f} M" if million else f"{drawing.parameters:,}"
    axes.set_title(f"{drawing.name}\n{short} parameters, {drawing.flops / 1e9:.2f} GFLOP", loc="left", fontsize=8)
