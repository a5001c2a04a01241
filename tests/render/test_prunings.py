"""What pictures of prunings hold."""

from __future__ import annotations

import pytest

from lunet_cli.render.prunings import dice_panel, width_panel
from lunet_cli.results.views import PruningView


def test_dice_stands_against_parameters_with_the_limit_and_the_chosen_step(
    pruning: PruningView,
) -> None:
    panel = dice_panel(pruning)
    measured, limit = panel.lines
    assert measured.x.tolist() == [600, 700, 800, 900, 1000]
    assert measured.y == pytest.approx([0.66, 0.715, 0.72, 0.71, 0.71])
    assert measured.best is not None
    assert measured.x[measured.best] == 700
    assert limit.y == pytest.approx([0.71] * 5)
    assert limit.x.tolist() == measured.x.tolist()
    assert panel.mark == "chosen: step 3"


def test_the_widest_and_the_narrowest_layer_come_closer(pruning: PruningView) -> None:
    panel = width_panel(pruning)
    widest, mean, narrowest = panel.lines
    assert widest.x.tolist() == [0, 1, 2, 3, 4]
    assert widest.y.tolist() == [8, 7, 6, 5, 4]
    assert mean.y.tolist() == [6, 5.5, 5, 4.5, 4]
    assert narrowest.y.tolist() == [4] * 5
