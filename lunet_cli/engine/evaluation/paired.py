"""Tests of paired differences."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import stats

# Values come from a table of nine digits: what differs less is equal.
_SMALLEST_DIFFERENCE = 1e-9


def wilcoxon(differences: npt.NDArray[np.float64]) -> float:
    """Two-sided p-value of the Wilcoxon signed-rank test of differences (N,).

    Cases without a difference do not count.
    """
    # Ranks and not a t-test: most metrics are bounded, and their differences are skewed.
    different = differences[np.abs(differences) > _SMALLEST_DIFFERENCE]
    if len(different) == 0:
        return 1.0
    return float(stats.wilcoxon(different).pvalue)


def holm(p_values: list[float]) -> list[float]:
    """Adjust p-values for their number.

    References:
        Holm, A simple sequentially rejective multiple test procedure (1979).
    """
    adjusted, highest = [1.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        # A larger p-value never becomes smaller than one before it.
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted
