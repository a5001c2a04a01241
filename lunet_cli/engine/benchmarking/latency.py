"""From times of passes to the numbers of a row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lunet_cli.results.benchmarking import Latency


def summarize_times(times_ms: Sequence[float]) -> Latency:
    """Median, interquartile range and 95th percentile, interpolated linearly between neighbours.

    Args:
        times_ms: Times of single passes, at least one.
    """
    # Quantiles and not mean and deviation: what disturbs a pass makes it longer, never shorter.
    low, median, high, p95 = np.percentile(times_ms, (25, 50, 75, 95))
    return Latency(float(median), float(high - low), float(p95))
