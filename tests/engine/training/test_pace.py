from __future__ import annotations

import pytest

from lunet_cli.engine.training.pace import Pace


def test_the_rest_is_estimated_from_the_mean_of_the_last_ten() -> None:
    pace = Pace(num_steps=8)
    for seconds in (1000.0, *[2.0, 4.0] * 5):
        pace.note(seconds, 8)
    assert pace.seconds_left(7) == pytest.approx(21)
    assert pace.seconds_left(0) == 0


def test_an_interrupted_epoch_counts_by_the_steps_that_ran() -> None:
    pace = Pace(num_steps=8)
    pace.note(3.0, 2)
    assert pace.seconds_left(10) == pytest.approx(120)
    only_validated = Pace(num_steps=8)
    only_validated.note(0.5, 0)
    assert only_validated.seconds_left(2) == pytest.approx(1)
