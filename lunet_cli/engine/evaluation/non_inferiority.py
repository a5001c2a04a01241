"""Whether one network is as good as another on the same cases, but for a margin."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from lunet_cli.engine.evaluation.summary import bootstrap_interval
from lunet_cli.results.evaluation import NonInferiority

# Of networks that are worse by exactly the margin, 2.5 % should pass; of normal differences in
# 1,500 trials, 11.9 % did with 3 cases, 7.2 % with 5, 4.6 % with 10 and 2.8 % with 20
# (benchmarks/few_cases.py).
ENOUGH_CASES = 20


def non_inferiority(
    candidate: Mapping[str, float], reference: Mapping[str, float], *, margin: float
) -> NonInferiority:
    """Compare the Dice of two networks case by case.

    The candidate is non-inferior where the lower end of the 95 % confidence interval of the mean
    difference is not below `-margin`: a one-sided test at 2.5 %. With fewer than `ENOUGH_CASES`
    percentile intervals are too narrow, and the answer is yes more often than it should be.

    Where a value is undefined, so is the answer, and nothing is shown: a case that is left out
    might be the one that got worse.

    Args:
        candidate: Dice of each case.
        reference: The same of the other network.
        margin: How much lower the mean may be, from 0 on.

    Raises:
        ValueError: They are not of the same cases.

    References:
        Piaggio et al., Reporting of noninferiority and equivalence randomized trials, JAMA 308:2594
        (2012).
    """
    if candidate.keys() != reference.keys():
        raise ValueError("candidate and reference are not of the same cases")
    pairs = [value - reference[case] for case, value in candidate.items()]
    differences = np.array(pairs, dtype=np.float64)
    if len(differences) == 0 or np.isnan(differences).any():
        return NonInferiority(math.nan, (math.nan, math.nan), margin, len(differences))
    mean = float(differences.mean())
    return NonInferiority(mean, bootstrap_interval(differences), margin, len(differences))
