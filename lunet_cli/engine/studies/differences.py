"""How trainings differ over the same cases and seeds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from lunet_cli.engine.evaluation.paired import holm, wilcoxon
from lunet_cli.engine.evaluation.summary import bootstrap_interval
from lunet_cli.results.studies import CaseDifference, StudyComparison

Cases = Mapping[int, Mapping[str, float]]
"""A value of each case, such as its Dice, by seed."""


def compared(
    pairs: Sequence[tuple[tuple[str, Cases], tuple[str, Cases]]],
) -> Iterator[StudyComparison]:
    """Each first one with its second, where they have cases in common; p-values are adjusted."""
    names, differences = [], []
    for (first, ours), (second, theirs) in pairs:
        values, num_seeds = paired(ours, theirs)
        if len(values) > 0:
            names.append((first, second))
            differences.append((values, num_seeds))
    p_values = holm([wilcoxon(values) for values, _ in differences])
    for (first, second), (values, num_seeds), p_value in zip(
        names, differences, p_values, strict=True
    ):
        found = difference(values, num_seeds)
        assert found is not None  # There are cases.
        yield StudyComparison(first, second, found, p_value)


def paired(ours: Cases, theirs: Cases) -> tuple[npt.NDArray[np.float64], int]:
    """Differences (N,) by case, each the mean over the seeds that both have.

    Returns:
        The differences, and how many seeds both have.
    """
    by_case: dict[str, list[float]] = {}
    seeds = sorted(ours.keys() & theirs.keys())
    for seed in seeds:
        for case in ours[seed].keys() & theirs[seed].keys():
            by_case.setdefault(case, []).append(ours[seed][case] - theirs[seed][case])
    means = [sum(by_case[case]) / len(by_case[case]) for case in sorted(by_case)]
    return np.array(means, dtype=np.float64), len(seeds)


def difference(values: npt.NDArray[np.float64], num_seeds: int) -> CaseDifference | None:
    """The mean of differences (N,) with its interval; None of no case."""
    if len(values) == 0:
        return None
    return CaseDifference(
        mean=float(values.mean()),
        interval=bootstrap_interval(values),
        num_cases=len(values),
        num_seeds=num_seeds,
    )
