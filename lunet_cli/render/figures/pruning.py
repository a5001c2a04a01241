"""A pruning: channels per layer over its steps, and Dice against parameters."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from lunet_cli.render.figures.channels import draw_map, map_height
from lunet_cli.render.figures.curves import draw_lines
from lunet_cli.render.figures.style import FULL_WIDTH, log_axis, new_figure, styled
from lunet_cli.render.prunings import dice_panel
from lunet_cli.results.views import PruningView

_CHART_HEIGHT = 2.6  # inches


@styled
def pruning_figure(view: PruningView) -> Figure:
    """The map of channels, and below it the curve of Dice with the chosen step."""
    heights = (map_height(view.channels), _CHART_HEIGHT)
    figure = new_figure(FULL_WIDTH, sum(heights))
    above, below = figure.subplots(2, 1, height_ratios=heights)
    draw_map(figure, above, view.channels)
    above.axvline(view.chosen.step.step, color="white", linestyle="--", linewidth=1)
    above.set(title=f"{view.name}: channels per layer (dashes: step {view.chosen.step.step})")
    panel = dice_panel(view)
    legend = draw_lines(below, panel)
    log_axis(below, "x", EngFormatter())
    below.set(title=panel.title, xlabel=panel.x_label, ylabel=panel.y_label)
    below.legend(legend.values(), legend.keys(), fontsize=7)
    return figure
