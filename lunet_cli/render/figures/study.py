"""A study of prunings: Dice against parameters."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from lunet_cli.render.figures.curves import draw_lines
from lunet_cli.render.figures.style import FULL_WIDTH, log_axis, new_figure, styled, unit
from lunet_cli.render.palette import label_colors
from lunet_cli.render.studies import bands, lowest_shown, study_panel
from lunet_cli.results.studies import StudyResult

_BAND = 0.18  # opacity
_AIR = 0.01  # of Dice, above the best


@styled
def study_figure(result: StudyResult) -> Figure:
    """A line with a band per strategy, and a point per network that was trained."""
    panel = study_panel(result)
    figure = new_figure(FULL_WIDTH * 0.8, 3.6)
    axes = figure.add_subplot(1, 1, 1)
    legend = draw_lines(axes, panel)
    for line, band in zip(panel.lines, bands(result), strict=True):
        color = label_colors(line.color + 1)[line.color]
        if line.is_point:
            axes.vlines(band.x, band.low, band.high, color=unit(color), linewidth=1.0)
        else:
            axes.fill_between(band.x, band.low, band.high, color=unit(color, _BAND), linewidth=0)
    for network in result.trained:
        if network.kind == "start":
            least = result.budget * network.parameters
            budget = axes.axvline(least, color="black", linestyle=":", linewidth=0.8)
            legend[f"{result.budget:.3g} of the parameters"] = budget
    axes.margins(x=0.12, y=0.1)
    lowest = lowest_shown(result)
    if axes.get_ylim()[0] < lowest:
        axes.set_ylim(lowest, max(float(band.high.max()) for band in bands(result)) + _AIR)
    log_axis(axes, "x", EngFormatter())
    label = f"{panel.y_label} (band: lowest to highest seed)"
    axes.set(title=panel.title, xlabel=panel.x_label, ylabel=label)
    figure.legend(legend.values(), legend.keys(), fontsize=7, loc="outside lower center", ncols=3)
    return figure
