"""Courses of trainings."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lunet_cli.render.curves import Panel
from lunet_cli.render.figures.style import (
    FULL_WIDTH,
    legend_columns,
    log_axis,
    new_figure,
    styled,
    unit,
)
from lunet_cli.render.palette import label_colors

_DASHES = ("-", "--", "-.", ":")
_HEIGHT, _WIDTH = 2.5, FULL_WIDTH / 2
_MOST_INSIDE = 4  # lines, whose legend finds room beside them
_TITLE = 48  # characters


@styled
def curves_figure(panels: Sequence[Panel]) -> Figure:
    """One axes per panel; lines differ in colour and dashes, values before smoothing stand faintly behind."""
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    below = max(_legend_height(panel) for panel in panels)
    figure = new_figure(FULL_WIDTH if columns > 1 else _WIDTH, (_HEIGHT + below) * rows)
    for place, panel in enumerate(panels, start=1):
        axes = figure.add_subplot(rows, columns, place)
        legend = _draw_lines(axes, panel)
        if panel.log:
            log_axis(axes, "y")
        if len(panel.lines[0].x) == 1:
            axes.margins(x=0.5)
        axes.set(
            title=textwrap.fill(panel.title, _TITLE), xlabel=panel.x_label, ylabel=panel.y_label
        )
        where: dict[str, Any] = {}
        if _legend_height(panel):
            where = {
                "loc": "upper center",
                "bbox_to_anchor": (0.5, -0.25),
                "ncols": legend_columns(legend, _WIDTH),
            }
        axes.legend(legend.values(), legend.keys(), fontsize=7, **where)
    return figure


def _draw_lines(axes: Axes, panel: Panel) -> dict[str, Line2D]:
    """Draw the lines; return those of the legend, by hand, since axes leave out names that begin with an underscore."""
    palette = label_colors(max(line.color for line in panel.lines) + 1)
    legend: dict[str, Line2D] = {}
    for line in panel.lines:
        color = unit(palette[line.color], 0.45 if line.is_faint else 1.0)
        if line.y is not line.raw:
            axes.plot(line.x, line.raw, color=unit(palette[line.color], 0.25), linewidth=0.6)
        dashes = _DASHES[line.color % len(_DASHES)]
        (legend[line.name],) = axes.plot(
            line.x, line.y, dashes, color=color, linewidth=0.9 if line.is_faint else 1.4
        )
        if line.best is not None:
            best = line.x[line.best], line.raw[line.best]
            axes.plot(*best, "D", color=color, markersize=5, markeredgecolor="black")
    if any(line.best is not None for line in panel.lines):
        legend["best epoch"] = Line2D(
            [], [], marker="D", linestyle="", color="white", markeredgecolor="black"
        )
    return legend


def _legend_height(panel: Panel) -> float:
    """Inches for a legend below the axes; 0 where it is short enough to stand in them."""
    names = [line.name for line in panel.lines]
    return (
        0.0
        if len(names) <= _MOST_INSIDE
        else 0.2 + 0.16 * -(-(len(names) + 1) // legend_columns(names, _WIDTH))
    )
