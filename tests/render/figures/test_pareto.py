"""Networks by quality and cost as a picture."""

from __future__ import annotations

from itertools import combinations

from lunet_cli.render.figures.pareto import pareto_figure
from lunet_cli.results.views import (
    Pareto,
    ParetoPoint,
)


def test_names_of_networks_do_not_cover_each_other() -> None:
    costs = (39_052, 40_000, 102_740, 300_000, 353_964)
    points = tuple(
        ParetoPoint(f"network_number_{i}", 0.9 - 0.01 * (i % 2), cost, False)
        for i, cost in enumerate(costs)
    )
    figure = pareto_figure(Pareto("mean Dice", "parameters", points))
    (axes,) = figure.axes
    boxes = [text.get_window_extent() for text in axes.texts]
    assert [text.get_text() for text in axes.texts] == [point.name for point in points]
    assert not any(first.overlaps(second) for first, second in combinations(boxes, 2))
    assert all(axes.get_window_extent().count_contains(box.corners()) == 4 for box in boxes)
