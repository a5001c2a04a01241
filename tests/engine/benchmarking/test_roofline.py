from __future__ import annotations

import pytest

from lunet_cli.engine.benchmarking import roofline
from lunet_cli.engine.benchmarking.roofline import Probe, prepare_probe


def test_rates_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """A product of 4x4 matrices is 128 operations; 8,000 bytes are read, and written, in a copy."""
    monkeypatch.setattr(roofline, "_EDGE", 4)
    monkeypatch.setattr(roofline, "_COPY_BYTES", 8000)
    monkeypatch.setattr(roofline, "time_passes_ms", lambda *_, **__: [9.0, 0.5, 0.1])
    found = prepare_probe(Probe("cpu", 1, "fp32"))(None)
    assert found.gflop_per_s == pytest.approx(128 / 0.5e-3 / 1e9)
    assert found.copy_gb_per_s == pytest.approx(16_000 / 0.5e-3 / 1e9)
