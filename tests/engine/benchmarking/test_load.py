from __future__ import annotations

import os
from pathlib import Path

import pytest

from lunet_cli.engine.benchmarking import load


def test_busy_cores_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stat, clock = tmp_path / "stat", [100.0]
    stat.write_text("cpu  100 0 50 1000 7 0 0 0 0 0\ncpu0 1 1 1 1\n")
    ticks = os.sysconf("SC_CLK_TCK")

    def pass_two_seconds(_: float) -> None:
        clock[0] += 2
        stat.write_text(f"cpu  {100 + ticks} 0 {50 + 2 * ticks} 5000 9 0 0 0 0 0\n")

    monkeypatch.setattr(load, "_STAT", stat)
    monkeypatch.setattr(load.time, "sleep", pass_two_seconds)
    monkeypatch.setattr(load.time, "perf_counter", lambda: clock[0])
    assert load.busy_cores() == pytest.approx(1.5), "three CPU seconds in two seconds"


def test_system_that_does_not_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "_STAT", tmp_path / "absent")
    assert load.busy_cores() is None
