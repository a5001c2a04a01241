from __future__ import annotations

import pytest

from lunet_cli.engine.benchmarking import load


def test_busy_cores_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """One core at work, one half at work, two idle."""
    shares = [100.0, 50.0, 0.0, 0.0]
    monkeypatch.setattr(load.psutil, "cpu_percent", lambda seconds, percpu: shares)
    assert load.busy_cores() == 1.5
