"""Networks by quality and cost."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, NullFormatter

from lunet_cli.render.figures.style import FULL_WIDTH, new_figure, styled, unit
from lunet_cli.render.palette import label_colors
from lunet_cli.results.views import Pareto


@styled
def pareto_figure(pareto: Pareto) -> Figure:
    """A point per network, named, and the front as a line of steps."""
    figure = new_figure(FULL_WIDTH * 0.7, 3.2)
    axes = figure.add_subplot(1, 1, 1)
    usual, special = (unit(color) for color in label_colors(2))
    front = [point for point in pareto.points if point.on_front]
    axes.step(
        [point.cost for point in front],
        [point.quality for point in front],
        where="post",
        color=special,
        linewidth=1,
        label="front: no other is as good at a lower cost",
    )
    for point in pareto.points:
        axes.plot(
            point.cost,
            point.quality,
            "o" if point.on_front else "s",
            color=special if point.on_front else usual,
            markeredgecolor="black",
            markersize=6,
        )
        axes.annotate(point.name, (point.cost, point.quality), (5, 4), textcoords="offset points", fontsize=7)
    axes.set_xscale("log")
    costs = [point.cost for point in pareto.points]
    axes.xaxis.set_major_formatter(EngFormatter())
    axes.xaxis.set_minor_formatter(EngFormatter() if max(costs) < 10 * min(costs) else NullFormatter())
    axes.margins(x=0.2, y=0.15)
    if not pareto.higher_is_better:
        axes.invert_yaxis()
    axes.set(xlabel=pareto.cost, ylabel=pareto.quality)
    axes.legend(fontsize=7, loc="lower right")
    return figure
