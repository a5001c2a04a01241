"""A pruning in terminals."""

from __future__ import annotations

from collections.abc import Callable

from lunet_cli.render.terminal.pruning import draw_pruning
from lunet_cli.render.terminal.screen import Screen
from lunet_cli.results.views import PruningView

Show = Callable[..., tuple[list[str], Screen]]


def test_channels_stand_above_the_curve_with_the_chosen_step(
    pruning: PruningView, show: Show
) -> None:
    lines, _ = show(lambda screen: draw_pruning(pruning, screen))
    assert lines[0] == "pruned: 12 channels in 2 layers, 8 at the end"
    (legend,) = [line for line in lines if "◆ chosen: step 3" in line]
    assert "best minus 0.01" in legend
    assert sum("◆" in line for line in lines) == 2
    assert any(line.strip() == "parameters" for line in lines)
