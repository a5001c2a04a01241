"""Summaries of measures over cases."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy import stats

from lunet_cli.config.metrics import METRICS, MetricName
from lunet_cli.results.evaluation import DISTANCES, CaseScore, MetricSummary

# As many as scipy takes: bounds of an interval then vary by a hundredth of its width with the seed.
NUM_RESAMPLES = 9999
SEED = 0
MEAN_LABEL = "mean of labels"
# As many as one looks at; `metrics.csv` has them all.
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
    undefined = _undefined_cases(scores)
    rows: list[MetricSummary] = []
    for label, by_metric in by_label.items():
        for metric, by_case in by_metric.items():
            row = _summarize(label, metric, by_case, undefined[label, metric])
            if metric in DISTANCES:
                mean = float(np.mean(list(penalized[label][metric].values())))
                row = replace(row, penalized_mean=mean)
            rows.append(row)
    return tuple(rows)


def _undefined_cases(scores: Sequence[CaseScore]) -> defaultdict[tuple[str, str], set[str]]:
    """Cases where a metric of a label is undefined; the mean of labels is, where one of them is."""
    found: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for score in scores:
        for metric in score.undefined:
            found[score.label, metric].add(score.case)
            found[MEAN_LABEL, metric].add(score.case)
    return found


def values_by_label(
    scores: Sequence[CaseScore], metrics: Sequence[MetricName]
) -> dict[str, dict[MetricName, dict[str, float]]]:
    """Values by label, metric and case; with several labels also their mean.

    A mean is undefined where the value of one label is.
    """
    found: dict[str, dict[MetricName, dict[str, float]]] = {}
    for score in scores:
        of_label = found.setdefault(score.label, {})
        for metric in metrics:
            of_label.setdefault(metric, {})[score.case] = score.values[metric]
    if len(found) > 1:
        found[MEAN_LABEL] = _means(list(found.values()))
    return found


def _means(
    labels: list[dict[MetricName, dict[str, float]]],
) -> dict[MetricName, dict[str, float]]:
    """Mean over labels, by metric and case."""
    means: dict[MetricName, dict[str, float]] = {}
    for metric, cases in labels[0].items():
        means[metric] = {}
        for case in cases:
            means[metric][case] = float(np.mean([label[metric][case] for label in labels]))
    return means


def bootstrap_interval(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    """95 % percentile bootstrap confidence interval of the mean of `values` (N,).

    NaN for fewer than two values. Cases are drawn with replacement from a generator of a fixed
    seed, so that equal values give equal intervals.

    References:
        Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.
    """
    if len(values) < 2:
        return math.nan, math.nan
    found = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=NUM_RESAMPLES,
        batch=1000,  # All at once would take gigabytes for a thousand cases.
        method="percentile",
        rng=np.random.default_rng(SEED),
    )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def _summarize(
    label: str, metric: MetricName, by_case: dict[str, float], undefined: set[str]
) -> MetricSummary:
    values = np.array(list(by_case.values()))
    defined = values[~np.isnan(values)]
    mean = sd = median = math.nan
    if len(defined) > 0:
        mean, median = float(defined.mean()), float(np.median(defined))
    # Cases are a sample of patients, hence n - 1.
    if len(defined) > 1:
        sd = float(defined.std(ddof=1))

    def order(item: tuple[str, float]) -> tuple[bool, float]:
        case, value = item
        return case in undefined, badness(metric, value)

    return MetricSummary(
        label,
        metric,
        mean=mean,
        sd=sd,
        median=median,
        interval=bootstrap_interval(defined),
        num_cases=len(defined),
        num_undefined=len(undefined),
        worst=tuple(sorted(by_case.items(), key=order, reverse=True)[:_NUM_WORST]),
    )


def badness(metric: MetricName, value: float) -> float:
    """The higher, the worse; an undefined value is the worst."""
    if math.isnan(value):
        return math.inf
    return {"higher": -value, "lower": value, "zero": abs(value)}[METRICS[metric].better]
