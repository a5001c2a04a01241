"""Which step of a pruning is taken."""

from __future__ import annotations

import math
from dataclasses import replace

from lunet_cli.engine.evaluation.pruned_steps import best_step, chosen_step


def test_the_last_step_within_the_margin_of_the_best_is_chosen(pruning_steps) -> None:
    # Without noise, an interval is a point: step 2 is the best, step 4 is 0.009 below it, step 3
    # 0.015 and step 5 0.02.
    steps = pruning_steps(0.01, 0.02, 0.005, 0.011, 0.0)
    assert best_step(steps) is steps[2]
    assert chosen_step(steps, 0.01, "best") is steps[4]
    assert chosen_step(steps, 0.0, "best") is steps[2]
    assert chosen_step(steps, 0.1, "best") is steps[5]


def test_what_is_hardly_worse_on_average_may_be_too_uncertain(pruning_steps) -> None:
    steady, noisy = pruning_steps(-0.001), pruning_steps(-0.001, noise=0.05)
    assert chosen_step(steady, 0.01, "best") is steady[1]
    assert chosen_step(noisy, 0.01, "best") is noisy[0]


def test_of_equally_good_networks_the_smallest_is_the_best(pruning_steps) -> None:
    steps = pruning_steps(0.01, 0.0, 0.01)
    assert best_step(steps) is steps[3]


def test_what_was_there_before_is_the_bar_where_it_is_asked_for(pruning_steps) -> None:
    # Step 1 is the best, 0.02 above step 0; step 3 is 0.009 below step 0, and step 4 0.03.
    steps = pruning_steps(0.02, -0.02, -0.009, -0.03)
    assert chosen_step(steps, 0.01, "best") is steps[1]
    assert chosen_step(steps, 0.01, "unpruned") is steps[3]
    worse = pruning_steps(-0.02, -0.03)
    assert chosen_step(worse, 0.01, "unpruned") is worse[0]


def test_a_single_case_can_only_choose_the_best(pruning_steps) -> None:
    steps = pruning_steps(0.01, 0.005, num_cases=1)
    assert chosen_step(steps, 0.5, "best") is steps[1]


def test_steps_without_dice_are_passed_over(pruning_steps) -> None:
    steps = [replace(step, val_dice=math.nan) for step in pruning_steps()]
    assert chosen_step(steps, 0.01, "best") is None
    assert chosen_step(steps, 0.01, "unpruned") is None
