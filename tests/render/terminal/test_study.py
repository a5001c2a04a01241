"""A study of prunings in terminals."""

from __future__ import annotations

from collections.abc import Callable

from lunet_cli.render.terminal.screen import Screen
from lunet_cli.render.terminal.study import draw_study
from lunet_cli.results.studies import StudyResult

Show = Callable[..., tuple[list[str], Screen]]


def test_lines_and_points_are_in_the_legend_and_drawn(study: StudyResult, show: Show) -> None:
    lines, screen = show(lambda screen: draw_study(study, screen))
    text = "\n".join(lines)
    mark = "#"  # the fifth symbol
    if screen.colors:
        mark = "●"
    for words in ("stamp", "random-in-largest", f"{mark} lunet_small_4f, from scratch"):
        assert words in text
    # Its point stands alone at the left edge, behind the ticks of the axis.
    assert any(f"┤{mark}" in line or f"│{mark}" in line for line in lines)
