"""Summaries of measures over cases."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy import stats

from lunet_cli.config.metrics import METRICS, MetricName
from lunet_cli.results.evaluation import DISTANCES, CaseScore, MetricSummary

NUM_RESAMPLES = 9999
SEED = 0
MEAN_LABEL = "mean of labels"
_NUM_WORST = 3


def summarize(
    scores: Sequence[CaseScore], *, metrics: Sequence[MetricName]
) -> tuple[MetricSummary, ...]:
    """Summarise each metric per label, and the mean of labels where there are several.

    Args:
        scores: A row per case and label.
        metrics: The metrics, which all rows have.

    Returns:
        Rows by label, in the order of their first appearance, then by metric.
    """
    by_label = values_by_label(scores, metrics)
    penalized = values_by_label([score.penalized() for score in scores], metrics)
    undefined: dict[tuple[str, str], set[str]] = {}
    for score in scores:
        for metric in score.undefined:
            for label in (score.label, MEAN_LABEL):
                undefined.setdefault((label, metric), set()).add(score.case)
    rows: list[MetricSummary] = []
    for label in by_label:
        for metric in metrics:
            row = _summarize(
                label, metric, by_label[label][metric], undefined.get((label, metric), set())
            )
            if metric in DISTANCES:
                row = replace(
                    row, penalized_mean=float(np.mean(list(penalized[label][metric].values())))
                )
            rows.append(row)
    return tuple(rows)


def values_by_label(
    scores: Sequence[CaseScore], metrics: Sequence[MetricName]
) -> dict[str, dict[MetricName, dict[str, float]]]:
    """Values by label, metric and case; with several labels also their mean, undefined where one of them is."""
    found: dict[str, dict[MetricName, dict[str, float]]] = {}
    for score in scores:
        for metric in metrics:
            found.setdefault(score.label, {}).setdefault(metric, {})[score.case] = score.values[
                metric
            ]
    if len(found) > 1:
        first = next(iter(found.values()))
        found[MEAN_LABEL] = {
            metric: {
                case: float(np.mean([of_label[metric][case] for of_label in found.values()]))
                for case in cases
            }
            for metric, cases in first.items()
        }
    return found


def bootstrap_interval(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    """95 % percentile bootstrap confidence interval of the mean of `values` (N,); NaN for fewer than two.

    Cases are drawn with replacement from a generator of a fixed seed, so that equal values give
    equal intervals.

    References:
        Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.
    """
    if len(values) < 2:
        return math.nan, math.nan
    found = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=NUM_RESAMPLES,
        batch=1000,
        method="percentile",
        rng=np.random.default_rng(SEED),
    )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def _summarize(
    label: str, metric: MetricName, by_case: dict[str, float], undefined: set[str]
) -> MetricSummary:
    defined = np.array([value for value in by_case.values() if not math.isnan(value)])
    num_undefined = len(undefined)
    worst = tuple(
        sorted(
            by_case.items(),
            key=lambda item: (item[0] in undefined, badness(metric, item[1])),
            reverse=True,
        )
    )[:_NUM_WORST]
    if len(defined) == 0:
        return MetricSummary(
            label, metric, *(math.nan,) * 3, (math.nan, math.nan), 0, num_undefined, worst
        )
    return MetricSummary(
        label,
        metric,
        mean=float(defined.mean()),
        sd=float(defined.std(ddof=1)) if len(defined) > 1 else math.nan,
        median=float(np.median(defined)),
        interval=bootstrap_interval(defined),
        num_cases=len(defined),
        num_undefined=num_undefined,
        worst=worst,
    )


def badness(metric: MetricName, value: float) -> float:
    """The higher, the worse; an undefined value is the worst."""
    if math.isnan(value):
        return math.inf
    return {"higher": -value, "lower": value, "zero": abs(value)}[METRICS[metric].better]
