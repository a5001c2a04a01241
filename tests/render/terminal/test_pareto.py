"""Networks by quality and cost in terminals."""

from __future__ import annotations

from collections.abc import Callable

from lunet_cli.render.terminal.pareto import draw_pareto
from lunet_cli.render.terminal.screen import Screen
from lunet_cli.results.views import Pareto, ParetoPoint

Show = Callable[..., tuple[list[str], Screen]]


def test_pareto(show: Show) -> None:
    points = (ParetoPoint("lean", 0.88, 9_929, True), ParetoPoint("large", 0.87, 353_949, False))
    lines, _ = show(lambda screen: draw_pareto(Pareto("mean Dice", "parameters", points), screen))
    text = "\n".join(lines)
    assert "9,929" in text
    worse_above = Pareto("mean HD95 in mm", "parameters", points, higher_is_better=False)
    assert "mean HD95 in mm (lower is better)" in "\n".join(
        show(lambda screen: draw_pareto(worse_above, screen))[0]
    )
    (front,) = [line for line in lines if "lean" in line]
    assert front.endswith("*")
