from __future__ import annotations

import pytest

from lunet_cli.engine.benchmarking.latency import summarize_times


def test_statistics_by_hand() -> None:
    # Sorted 10 20 30 40 50: quartiles 20 and 40; the 95th percentile lies at position 0.95 * 4 =
    # 3.8.
    latency = summarize_times([50, 10, 40, 20, 30])
    assert (latency.median, latency.iqr) == (30, 20)
    assert latency.p95 == pytest.approx(48)


def test_even_number_of_times() -> None:
    # Sorted 1 2 4 8: quartiles at positions 0.75 and 2.25.
    latency = summarize_times([8, 1, 4, 2])
    assert latency.median == 3
    assert latency.iqr == pytest.approx((4 + 0.25 * 4) - (1 + 0.75 * 1))


def test_one_time() -> None:
    latency = summarize_times([7.5])
    assert (latency.median, latency.iqr, latency.p95) == (7.5, 0, 7.5)
