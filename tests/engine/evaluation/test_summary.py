from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from lunet_cli.engine.evaluation.summary import MEAN_LABEL, bootstrap_interval, summarize
from lunet_cli.results.evaluation import CaseScore

NAN = math.nan


def scores(label: str, metric: str, **values: float) -> list[CaseScore]:
    return [
        CaseScore(case, label, {metric: value}, 1.0, 1.0, (metric,) if math.isnan(value) else ())
        for case, value in values.items()
    ]


def test_mean_deviation_and_median_by_hand() -> None:
    (row,) = summarize(scores("a", "dice", p=0.5, q=0.7, r=0.9, s=0.9), metrics=["dice"])
    assert (row.label, row.metric, row.num_cases, row.num_undefined) == ("a", "dice", 4, 0)
    assert row.mean == pytest.approx(0.75)
    assert row.sd == pytest.approx(math.sqrt((0.0625 + 0.0025 + 0.0225 * 2) / 3))
    assert row.median == pytest.approx(0.8)
    assert row.interval[0] < 0.75 < row.interval[1]
    assert row.worst == (("p", 0.5), ("q", 0.7), ("r", 0.9))


@pytest.mark.parametrize(
    ("metric", "worst"),
    [
        ("dice", ["p", "s", "q"]),
        ("assd", ["r", "q", "s"]),
        ("relative_volume_difference", ["p", "r", "q"]),
    ],
)
def test_worst_cases_go_by_what_is_better(metric: str, worst: list[str]) -> None:
    (row,) = summarize(scores("a", metric, p=-5.0, q=3.0, r=4.0, s=2.0), metrics=[metric])
    assert [case for case, _ in row.worst] == worst


def test_undefined_cases_are_counted_and_named_first() -> None:
    (row,) = summarize(scores("a", "hausdorff95", p=2.0, q=NAN, r=4.0), metrics=["hausdorff95"])
    assert (row.mean, row.num_cases, row.num_undefined) == (3.0, 2, 1)
    assert row.worst[0][0] == "q"


def test_a_structure_that_was_not_found_does_not_improve_the_penalized_mean() -> None:
    rows = [
        CaseScore("p", "a", {"hausdorff95": 2.0}, 1.0, 1.0, (), 50.0),
        CaseScore("q", "a", {"hausdorff95": NAN}, 0.0, 1.0, ("hausdorff95",), 60.0),
        CaseScore("p", "b", {"hausdorff95": 4.0}, 1.0, 1.0, (), 50.0),
        CaseScore("q", "b", {"hausdorff95": 6.0}, 1.0, 1.0, (), 60.0),
    ]
    found = {row.label: row for row in summarize(rows, metrics=["hausdorff95"])}
    assert (found["a"].mean, found["a"].penalized_mean, found["a"].leaves_out) == (2.0, 31.0, True)
    assert (found["b"].mean, found["b"].penalized_mean, found["b"].leaves_out) == (5.0, 5.0, False)
    assert found[MEAN_LABEL].mean == 3.0
    assert found[MEAN_LABEL].penalized_mean == 18.0  # of 3 and 33


def test_nothing_defined() -> None:
    (row,) = summarize(scores("a", "assd", p=NAN), metrics=["assd"])
    assert math.isnan(row.mean)
    assert (row.num_cases, row.num_undefined) == (0, 1)


def test_single_case_has_no_spread() -> None:
    (row,) = summarize(scores("a", "dice", p=0.5), metrics=["dice"])
    assert row.mean == 0.5
    assert math.isnan(row.sd)
    assert math.isnan(row.interval[0])


def test_mean_over_labels_is_per_case() -> None:
    rows = summarize(
        [*scores("a", "assd", p=1.0, q=NAN, r=3.0), *scores("b", "assd", p=3.0, q=1.0, r=7.0)],
        metrics=["assd"],
    )
    assert [row.label for row in rows] == ["a", "b", MEAN_LABEL]
    assert (rows[2].mean, rows[2].num_undefined) == (3.5, 1)  # of 2 and 5


def test_interval_is_that_of_theory_for_many_cases() -> None:
    values = np.random.default_rng(1).normal(10, 2, 400)
    low, high = bootstrap_interval(values)
    wanted = stats.t.interval(0.95, 399, values.mean(), stats.sem(values))
    assert (low, high) == pytest.approx(wanted, abs=0.03)
    assert bootstrap_interval(values) == (low, high)


def test_interval_of_equal_values_is_that_value() -> None:
    assert bootstrap_interval(np.full(5, 0.25)) == (0.25, 0.25)
