from __future__ import annotations

import math

from lunet_cli.engine.evaluation.fronts import on_front


def test_better_or_cheaper_is_on_the_front() -> None:
    assert on_front([0.8, 0.7, 0.9, 0.9], [10, 20, 99, 100], "higher") == [True, False, True, False]
    assert on_front([0.8, 0.7, 0.9, 0.9], [10, 20, 99, 100], "lower") == [True, True, False, False]


def test_equal_networks_share_it() -> None:
    assert on_front([0.8, 0.8], [10, 10], "higher") == [True, True]


def test_near_zero_is_better_on_either_side() -> None:
    assert on_front([-0.1, 0.3, -0.3], [10, 10, 10], "zero") == [True, False, False]


def test_what_is_not_known_is_not_on_it_and_beats_nothing() -> None:
    assert on_front([0.9, math.nan, 0.5], [None, 1, 7], "higher") == [False, False, True]
