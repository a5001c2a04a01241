"""Networks as drawings: blocks as wide as their channels."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import EngFormatter, MaxNLocator

from lunet_cli.render.figures.style import FULL_WIDTH, new_figure, styled, unit
from lunet_cli.render.networks import Drawing, compared, Scale, room
from lunet_cli.render.palette import label_colors

_ROW = 0.42  # inches per level
_HEIGHT = 0.55  # of a block, in levels
_GAP = 0.06  # between blocks, in widths of the drawing


@styled
def networks_figure(drawings: Sequence[Drawing]) -> Figure:
    """A row per network, all at one scale: its blocks and skips, and the parameters and FLOPs of each level."""
    figure = new_figure(FULL_WIDTH, sum(_ROW * len(drawing.levels) + 0.8 for drawing in drawings))
    levels = [level for drawing in drawings for level in drawing.levels]
    scale = Scale.of(drawings, _GAP).width_per_channel
    most = {
        "parameters": max(level.parameters for level in levels),
        "flops": max(level.flops for level in levels),
    }
    labels = {"parameters": "parameters per level", "flops": "FLOPs per level"}
    sky, orange = label_colors(2)[1], label_colors(2)[0]
    for row, drawing in enumerate(drawings):
        first = 3 * row + 1
        axes = figure.add_subplot(len(drawings), 3, first)
        _draw_blocks(axes, drawing, scale)
        for column, (key, color) in enumerate((("parameters", sky), ("flops", orange)), start=1):
            axes = figure.add_subplot(len(drawings), 3, first + column)
            values = [getattr(level, key) for level in drawing.levels]
            bars = axes.barh(range(len(values)), values, color=unit(color), height=_HEIGHT)
            texts = [
                f"{value:,}" if key == "parameters" else EngFormatter(places=1)(value)
                for value in values
            ]
            axes.bar_label(bars, texts, padding=2, fontsize=6)
            axes.set_xlim(0, most[key] * 1.35)
            axes.xaxis.set_major_locator(MaxNLocator(4))
            axes.xaxis.set_major_formatter(EngFormatter())
            axes.set_ylim(*_limits(drawing))
            axes.set_yticks([])
            axes.set_xlabel(labels[key])
    if len(drawings) == 2:
        figure.supxlabel(compared(*drawings), fontsize=8)
    return figure


def _limits(drawing: Drawing) -> tuple[float, float]:
    """From below the deepest level to above the headings of the first, so that bars stand beside their levels."""
    return len(drawing.levels) - 0.5, -0.9


def _draw_blocks(axes: Axes, drawing: Drawing, width_of_channel: float) -> None:
    color = unit(label_colors(3)[2])
    for index, level in enumerate(drawing.levels):
        width = max(0.008, level.channels * width_of_channel)
        reach = room(index, len(drawing.levels)) - width
        centres = [0.5]
        if level.num_nodes > 1:
            centres = [
                0.5 + reach * (node / (level.num_nodes - 1) - 0.5)
                for node in range(level.num_nodes)
            ]
        for first, second in pairwise(centres):
            axes.annotate(
                "",
                (second - width / 2, index),
                (first + width / 2, index),
                arrowprops={
                    "arrowstyle": "->",
                    "color": "0.5",
                    "linewidth": 0.7,
                    "shrinkA": 0,
                    "shrinkB": 0,
                },
            )
        for centre in centres:
            axes.add_patch(
                Rectangle((centre - width / 2, index - _HEIGHT / 2), width, _HEIGHT, color=color)
            )
        axes.text(-0.04, index, f"{level.edge}³", ha="right", va="center", fontsize=6)
        axes.text(1.04, index, f"{level.channels}", ha="left", va="center", fontsize=6)
    axes.text(-0.04, -0.75, "voxels", ha="right", fontsize=6, color="0.4")
    axes.text(1.04, -0.75, "channels", ha="left", fontsize=6, color="0.4")
    axes.set_xlim(-0.2, 1.2)
    axes.set_ylim(*_limits(drawing))
    axes.axis("off")
    million = drawing.parameters >= 1_000_000
    short = f"{drawing.parameters / 1e6:.2f} M" if million else f"{drawing.parameters:,}"
    axes.set_title(
        f"{drawing.name}\n{short} parameters, {drawing.flops / 1e9:.2f} GFLOP at {drawing.levels[0].edge}³",
        loc="left",
        fontsize=8,
    )
