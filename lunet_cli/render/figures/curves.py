"""Courses of trainings."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lunet_cli.render.curves import Panel
from lunet_cli.render.figures.style import FULL_WIDTH, log_axis, new_figure, styled, unit
from lunet_cli.render.palette import label_colors

_DASHES = ("-", "--", "-.", ":")
_HEIGHT = 2.5


@styled
def curves_figure(panels: Sequence[Panel]) -> Figure:
    """One axes per panel; lines differ in colour and dashes, values before smoothing stand faintly behind."""
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    figure = new_figure(FULL_WIDTH if columns > 1 else FULL_WIDTH / 2, _HEIGHT * rows)
    for place, panel in enumerate(panels, start=1):
        axes = figure.add_subplot(rows, columns, place)
        palette = label_colors(max(line.color for line in panel.lines) + 1)
        legend: dict[str, Line2D] = {}  # By hand, since axes leave out names that begin with an underscore.
        for line in panel.lines:
            color = unit(palette[line.color], 0.45 if line.is_faint else 1.0)
            if line.y is not line.raw:
                axes.plot(line.x, line.raw, color=unit(palette[line.color], 0.25), linewidth=0.6)
            dashes = _DASHES[line.color % len(_DASHES)]
            (drawn,) = axes.plot(line.x, line.y, dashes, color=color, linewidth=0.9 if line.is_faint else 1.4)
            legend[line.name] = drawn
            if line.best is not None:
                best = line.x[line.best], line.raw[line.best]
                axes.plot(*best, "D", color=color, markersize=5, markeredgecolor="black")
        if any(line.best is not None for line in panel.lines):
            legend["best epoch"] = Line2D([], [], marker="D", linestyle="", color="white", markeredgecolor="black")
        if panel.log:
            log_axis(axes, "y")
        if len(panel.lines[0].x) == 1:
            axes.margins(x=0.5)
        axes.set(title=panel.title, xlabel=panel.x_label, ylabel=panel.y_label)
        if len(legend) > 1:
            axes.legend(legend.values(), legend.keys(), fontsize=7)
    return figure
