"""Which network of a pruning is chosen."""

from __future__ import annotations

import pytest

from lunet_cli.engine.pruning.rule import best_step, chosen_step, is_as_good, num_inferior


def test_the_last_step_within_the_margin_of_the_best_is_chosen(pruning_steps) -> None:
    # Without noise, an interval is a point: step 2 is the best, step 4 is 0.009 below it, step 3
    # 0.015 and step 5 0.02.
    steps = pruning_steps(0.01, 0.02, 0.005, 0.011, 0.0)
    assert best_step(steps) is steps[2]
    assert chosen_step(steps, margin=0.01) is steps[4]
    assert chosen_step(steps, margin=0.0) is steps[2]
    assert chosen_step(steps, margin=0.1) is steps[5]
    assert [num_inferior(steps, margin=margin) for margin in (0.0, 0.01, 0.1)] == [3, 1, 0]


def test_what_is_hardly_worse_on_average_may_be_too_uncertain(pruning_steps) -> None:
    steady, noisy = pruning_steps(-0.001), pruning_steps(-0.001, noise=0.05)
    assert chosen_step(steady, margin=0.01) is steady[1]
    assert chosen_step(noisy, margin=0.01) is noisy[0]


@pytest.mark.parametrize("noise", [0.0, 0.002, 0.02])
def test_what_was_chosen_on_the_way_is_chosen_in_the_end(pruning_steps, noise: float) -> None:
    steps = pruning_steps(0.004, -0.01, 0.012, 0.003, 0.001, -0.02, -0.001, noise=noise)
    on_the_way = steps[0]
    for number in range(1, len(steps) + 1):
        if is_as_good(steps[:number], margin=0.01):
            on_the_way = steps[number - 1]
        assert chosen_step(steps[:number], margin=0.01) is on_the_way


def test_a_single_case_can_only_choose_the_best(pruning_steps) -> None:
    steps = pruning_steps(0.01, 0.005, num_cases=1)
    assert chosen_step(steps, margin=0.5) is steps[1]


def test_before_the_first_step_nothing_is_chosen() -> None:
    assert chosen_step((), margin=0.01) is None
    assert num_inferior((), margin=0.01) == 0
