"""Whether one network is as good as another, but for a margin."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from lunet_cli.engine.evaluation.non_inferiority import non_inferiority
from lunet_cli.engine.evaluation.summary import bootstrap_interval


def cases(*values: float) -> dict[str, float]:
    return {f"case {index}": value for index, value in enumerate(values)}


def test_mean_and_interval_by_hand() -> None:
    """With three differences, a resampled mean has ten values, and the tails are known."""
    found = non_inferiority(cases(0.75, 0.875, 0.5), cases(0.75, 0.75, 0.75), margin=0.125)
    differences = (0.0, 0.125, -0.25)
    means = sorted(sum(drawn) / 3 for drawn in itertools.product(differences, repeat=3))
    # Of 27 equally probable draws, each end is one: a probability of 3.7 %, above the 2.5 % that
    # the interval leaves out.
    assert found.interval == (means[0], means[-1]) == (-0.25, 0.125)
    assert found.mean == pytest.approx(-0.125 / 3)
    assert found.num_cases == 3


@pytest.mark.parametrize(("margin", "is_shown"), [(0.24, False), (0.25, True), (0.3, True)])
def test_the_lower_end_decides(margin: float, is_shown: bool) -> None:
    found = non_inferiority(cases(0.75, 0.875, 0.5), cases(0.75, 0.75, 0.75), margin=margin)
    assert found.is_shown == is_shown


def test_a_worse_mean_may_be_within_the_margin_and_an_equal_one_may_not_be_shown() -> None:
    reference = np.full(40, 0.8)
    spread = np.tile([0.002, -0.002], 20)
    slightly = non_inferiority(cases(*reference - 0.004 + spread), cases(*reference), margin=0.005)
    assert slightly.mean == pytest.approx(-0.004)
    assert slightly.is_shown
    noisy = non_inferiority(cases(*reference + 25 * spread), cases(*reference), margin=0.005)
    assert noisy.mean == pytest.approx(0, abs=1e-12)
    assert not noisy.is_shown


def test_the_interval_is_near_to_that_of_students_t() -> None:
    generator = np.random.default_rng(3)
    reference = generator.uniform(0.7, 0.95, 60)
    candidate = reference + generator.normal(-0.003, 0.01, 60)
    found = non_inferiority(cases(*candidate), cases(*reference), margin=0.01)
    differences = candidate - reference
    expected = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    assert found.interval == pytest.approx((expected.low, expected.high), abs=2e-4)
    assert found.interval == bootstrap_interval(differences)


def test_the_order_of_cases_does_not_change_the_pairs() -> None:
    one, other = cases(0.9, 0.5, 0.7), cases(0.8, 0.4, 0.6)
    turned = dict(reversed(other.items()))
    assert non_inferiority(one, turned, margin=0.01) == non_inferiority(one, other, margin=0.01)


def test_equal_networks_are_non_inferior_at_any_margin() -> None:
    found = non_inferiority(cases(0.9, 0.5, 0.7), cases(0.9, 0.5, 0.7), margin=0)
    assert (found.mean, found.interval, found.is_shown) == (0, (0, 0), True)


def test_one_case_shows_nothing() -> None:
    found = non_inferiority(cases(0.9), cases(0.8), margin=0.01)
    assert found.mean == pytest.approx(0.1)
    assert math.isnan(found.interval[0])
    assert not found.is_shown


@pytest.mark.parametrize("values", [(), (0.9, math.nan, 0.9)])
def test_without_a_value_nothing_is_shown(values: tuple[float, ...]) -> None:
    found = non_inferiority(cases(*values), cases(*(0.5 for _ in values)), margin=1)
    assert math.isnan(found.mean)
    assert found.num_cases == len(values)
    assert not found.is_shown


def test_other_cases_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="not of the same cases"):
        non_inferiority(cases(0.9, 0.8), cases(0.9), margin=0.01)
