"""The paired rule that says whether a smaller network is as good."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from lunet_cli.engine.evaluation.noninferiority import (
    best_step,
    chosen_step,
    dice_change,
    is_noninferior,
)
from lunet_cli.results.views import DiceChange


def test_a_change_is_the_mean_over_cases_with_the_interval_that_scipy_gives() -> None:
    before = {"a": 0.5, "b": 0.75, "c": 0.25, "d": 0.875}
    after = {"d": 0.75, "c": 0.375, "b": 0.5, "a": 0.5}  # in any order
    change = dice_change(after, before)
    differences = [-0.125, 0.125, -0.25, 0.0]
    assert change.mean == -0.0625
    theirs = stats.bootstrap(
        (np.array(differences),),
        np.mean,
        n_resamples=9999,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    assert change.interval == (theirs.low, theirs.high)


@pytest.mark.parametrize(
    ("interval", "is_as_good"),
    [((-0.01, 0.0), True), ((-0.0101, 0.5), False), ((0.1, 0.2), True), ((math.nan,) * 2, False)],
)
def test_the_whole_interval_must_lie_above_minus_the_margin(
    interval: tuple[float, float], is_as_good: bool
) -> None:
    assert is_noninferior(DiceChange(0.0, interval), 0.01) == is_as_good


def test_the_last_step_within_the_margin_of_the_best_is_chosen(pruning_steps) -> None:
    # Without noise, an interval is a point: step 2 is the best, step 4 is 0.009 below it, step 5
    # 0.02, and step 6 comes back.
    steps = pruning_steps(0.01, 0.02, 0.005, 0.011, 0.0)
    assert best_step(steps) is steps[2]
    assert chosen_step(steps, 0.01) is steps[4]
    assert chosen_step(steps, 0.0) is steps[2]
    assert chosen_step(steps, 0.1) is steps[5]


def test_what_is_better_on_average_may_be_too_uncertain(pruning_steps) -> None:
    steady, noisy = pruning_steps(-0.001), pruning_steps(-0.001, noise=0.05)
    assert chosen_step(steady, 0.01) is steady[1]
    assert chosen_step(noisy, 0.01) is noisy[0]


def test_of_equally_good_networks_the_smallest_is_the_best(pruning_steps) -> None:
    steps = pruning_steps(0.01, 0.0, 0.01)
    assert best_step(steps) is steps[3]


def test_a_single_case_can_only_choose_the_best(pruning_steps) -> None:
    steps = pruning_steps(0.01, 0.005, num_cases=1)
    assert chosen_step(steps, 0.5) is steps[1]


def test_steps_without_dice_are_passed_over(pruning_steps) -> None:
    steps = [replace(step, val_dice=math.nan) for step in pruning_steps()]
    assert chosen_step(steps, 0.01) is None
