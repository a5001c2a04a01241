"""Histories of trainings."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

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
_MARKERS = ("o", "s", "^", "v", "D", "P", "X")
_HEIGHT, _WIDTH = 2.5, FULL_WIDTH / 2
_MOST_INSIDE = 4  # lines, whose legend finds room beside them
_TITLE = 48  # characters
_FAINT, _FAINTEST = 0.45, 0.25  # opacity of training beside validation, and of what was smoothed


@styled
def curves_figure(panels: Sequence[Panel]) -> Figure:
    """One axes per panel; lines differ in colour and dashes.

    Values before smoothing stand faintly behind them.
    """
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    below = max(map(_legend_height, panels))
    figure = new_figure(_WIDTH * columns, (_HEIGHT + below) * rows)
    for place, panel in enumerate(panels, start=1):
        axes = figure.add_subplot(rows, columns, place)
        legend = draw_lines(axes, panel)
        if panel.log:
            log_axis(axes, "y")
        # A single epoch is drawn in the middle, and not over the whole width of a tiny range.
        if len(panel.lines[0].x) == 1:
            axes.margins(x=0.5)
        title = textwrap.fill(panel.title, _TITLE)
        axes.set(title=title, xlabel=panel.x_label, ylabel=panel.y_label)
        if _legend_height(panel):
            axes.legend(
                legend.values(),
                legend.keys(),
                fontsize=7,
                loc="upper center",
                bbox_to_anchor=(0.5, -0.25),
                ncols=legend_columns(legend, _WIDTH),
            )
        else:
            axes.legend(legend.values(), legend.keys(), fontsize=7)
    return figure


def draw_lines(axes: Axes, panel: Panel) -> dict[str, Line2D]:
    """Draw the lines, and return those of the legend."""
    # By hand, since axes leave names out of their legend that begin with an underscore.
    legend: dict[str, Line2D] = {}
    has_best = False
    for line in panel.lines:
        color, opacity, width = label_colors(line.color + 1)[line.color], 1.0, 1.4
        if line.is_faint:
            opacity, width = _FAINT, 0.9
        if line.y is not line.raw:
            axes.plot(line.x, line.raw, color=unit(color, _FAINTEST), linewidth=0.6)
        dashes = _DASHES[line.color % len(_DASHES)]
        if line.is_point:
            dashes = _MARKERS[line.color % len(_MARKERS)]
        shown = unit(color, opacity)
        (legend[line.name],) = axes.plot(line.x, line.y, dashes, color=shown, linewidth=width)
        if line.best is not None:
            has_best = True
            best = line.x[line.best], line.raw[line.best]
            axes.plot(*best, "D", color=shown, markersize=5, markeredgecolor="black")
    if has_best:
        legend[panel.mark] = Line2D(
            [], [], marker="D", linestyle="", color="white", markeredgecolor="black"
        )
    return legend


def _legend_height(panel: Panel) -> float:
    """Inches for a legend below the axes; 0 where it is short enough to stand in them."""
    names = [line.name for line in panel.lines]
    if len(names) <= _MOST_INSIDE:
        return 0.0
    columns = legend_columns(names, _WIDTH)
    # One entry more is that of the best epoch; a line in 7 points takes 0.16 inches.
    return 0.2 + 0.16 * -(-(len(names) + 1) // columns)
