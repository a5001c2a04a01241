"""Networks by quality and cost."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter
from matplotlib.transforms import Bbox, BboxBase

from lunet_cli.render.figures.style import FULL_WIDTH, log_axis, new_figure, styled, unit
from lunet_cli.render.palette import label_colors
from lunet_cli.results.views import Pareto, ParetoPoint

# Where the name of a point may stand, in points beside it; the first is the best.
_PLACES = ((5, 4), (-5, 4), (5, -4), (-5, -4), (0, 6), (0, -6))
_MARKER = 10  # pixels


@styled
def pareto_figure(pareto: Pareto) -> Figure:
    """A point per network, named, and the front as a line of steps."""
    figure = new_figure(FULL_WIDTH * 0.7, 3.2)
    axes = figure.add_subplot(1, 1, 1)
    usual, special = (unit(color) for color in label_colors(2))
    front = [point for point in pareto.points if point.on_front]
    beaten = [point for point in pareto.points if not point.on_front]
    axes.step(
        [p.cost for p in front],
        [p.quality for p in front],
        where="post",
        color=special,
        linewidth=1,
    )
    for points, marker, color, label in (
        (front, "o", special, "front: no other is as good at a lower cost"),
        (beaten, "s", usual, "beaten by another"),
    ):
        if points:
            places = [point.cost for point in points], [point.quality for point in points]
            axes.plot(
                *places, marker, color=color, markeredgecolor="black", markersize=6, label=label
            )
    axes.margins(x=0.2, y=0.15)
    log_axis(axes, "x", EngFormatter())
    if not pareto.higher_is_better:
        axes.invert_yaxis()
    axes.set(xlabel=pareto.cost, ylabel=pareto.quality_label)
    figure.legend(fontsize=7, loc="outside lower center", ncols=2)
    figure.draw_without_rendering()  # which finds the place of everything
    taken: list[BboxBase] = []
    for point in pareto.points:
        x, y = axes.transData.transform((point.cost, point.quality))
        taken.append(Bbox.from_bounds(x - _MARKER / 2, y - _MARKER / 2, _MARKER, _MARKER))
    for point in pareto.points:
        taken.append(_add_name(axes, point, taken))
    return figure


def _add_name(axes: Axes, point: ParetoPoint, taken: Sequence[BboxBase]) -> BboxBase:
    """Write the name of a point beside it, where it covers least of what is there; return the box that it fills."""
    notes = [
        axes.annotate(
            point.name,
            (point.cost, point.quality),
            (dx, dy),
            textcoords="offset points",
            fontsize=7,
            ha="left" if dx > 0 else "right" if dx < 0 else "center",
            va="bottom" if dy > 0 else "top",
        )
        for dx, dy in _PLACES
    ]
    boxes = [note.get_window_extent() for note in notes]
    inside = axes.get_window_extent()

    def covered(index: int) -> float:
        box = boxes[index]
        return (
            _common(box, box) - _common(box, inside) + sum(_common(box, other) for other in taken)
        )

    best = min(range(len(notes)), key=covered)
    for note in notes[:best] + notes[best + 1 :]:
        note.remove()
    notes[best].set_in_layout(False)
    return boxes[best]


def _common(first: BboxBase, second: BboxBase) -> float:
    """Area of what two boxes have in common."""
    both = Bbox.intersection(first, second)
    return 0.0 if both is None else both.width * both.height
