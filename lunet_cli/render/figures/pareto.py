"""Networks by quality and cost."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.ticker import EngFormatter
from matplotlib.transforms import Bbox, BboxBase

from lunet_cli.render.figures.style import FULL_WIDTH, log_axis, new_figure, styled, unit
from lunet_cli.render.palette import label_colors
from lunet_cli.results.views import Pareto, ParetoPoint

# Where the name of a point may stand, in points beside it; the first is the best.
_PLACES = ((5, 4), (-5, 4), (5, -4), (-5, -4), (0, 6), (0, -6))
_ACROSS = {-1: "right", 0: "center", 1: "left"}  # by the sign of where it stands
_MARKER = 10  # pixels


@styled
def pareto_figure(pareto: Pareto) -> Figure:
    """A point per network, named, and the front as a line of steps."""
    figure = new_figure(FULL_WIDTH * 0.7, 3.2)
    axes = figure.add_subplot(1, 1, 1)
    _draw_points(axes, pareto.points)
    axes.margins(x=0.2, y=0.15)
    log_axis(axes, "x", EngFormatter())
    if not pareto.higher_is_better:
        axes.invert_yaxis()
    axes.set(xlabel=pareto.cost, ylabel=pareto.quality_label)
    figure.legend(fontsize=7, loc="outside lower center", ncols=2)
    figure.draw_without_rendering()  # which finds the place of everything
    add_names(axes, pareto.points)
    return figure


def add_names(axes: Axes, points: Sequence[ParetoPoint]) -> None:
    """Write the name of each point beside it, where it covers least.

    Args:
        axes: Where they are drawn, and everything else too.
        points: The points.
    """
    taken: list[BboxBase] = []
    for point in points:
        x, y = axes.transData.transform((point.cost, point.quality))
        taken.append(Bbox.from_bounds(x - _MARKER / 2, y - _MARKER / 2, _MARKER, _MARKER))
    # Only now, since no name may cover a point that comes after it.
    for point in points:
        taken.append(_add_name(axes, point, taken))


def _draw_points(axes: Axes, points: Sequence[ParetoPoint]) -> None:
    usual, special = map(unit, label_colors(2))
    places: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
    for point in points:
        places[point.on_front].append((point.cost, point.quality))
    for on_front, marker, color, label in (
        (True, "o", special, "front: no other is as good at a lower cost"),
        (False, "s", usual, "beaten by another"),
    ):
        if not places[on_front]:
            continue
        x, y = zip(*places[on_front], strict=True)
        if on_front:
            axes.step(x, y, where="post", color=color, linewidth=1)
        axes.plot(x, y, marker, color=color, markeredgecolor="black", markersize=6, label=label)


def _add_name(axes: Axes, point: ParetoPoint, taken: Sequence[BboxBase]) -> BboxBase:
    """Write a name beside its point, where it covers least; return the box that it fills."""
    notes = [_note(axes, point, place) for place in _PLACES]
    inside = axes.get_window_extent()
    covered = []
    for note in notes:
        box = note.get_window_extent()
        outside = _common(box, box) - _common(box, inside)
        covered.append(outside + sum(_common(box, other) for other in taken))
    best = notes.pop(covered.index(min(covered)))
    for note in notes:
        note.remove()
    # The layout would shrink the axes for a name that reaches over their edge.
    best.set_in_layout(False)
    return best.get_window_extent()


def _note(axes: Axes, point: ParetoPoint, place: tuple[int, int]) -> Annotation:
    dx, dy = place
    vertical = "top"
    if dy > 0:
        vertical = "bottom"
    return axes.annotate(
        point.name,
        (point.cost, point.quality),
        place,
        textcoords="offset points",
        fontsize=7,
        ha=_ACROSS[(dx > 0) - (dx < 0)],
        va=vertical,
    )


def _common(first: BboxBase, second: BboxBase) -> float:
    """Area of what two boxes have in common."""
    both = Bbox.intersection(first, second)
    if both is None:
        return 0.0
    return both.width * both.height
