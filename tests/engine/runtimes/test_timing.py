from __future__ import annotations

import pytest

from lunet_cli.engine.runtimes import timing


def test_only_timed_passes_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that each pass moves by 1 s, then 2 s, then 3 s."""
    clock, passes = [0.0], [0]

    def run() -> None:
        passes[0] += 1
        clock[0] += passes[0]

    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock[0])
    times = timing.time_passes_ms(run, device="cpu", warmup_runs=1, timed_runs=2)
    assert times == [2000.0, 3000.0]
