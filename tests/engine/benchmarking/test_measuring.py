from __future__ import annotations

import subprocess
import sys

import pytest

from lunet_cli.config.options import BenchOptions
from lunet_cli.engine.benchmarking.measuring import Passes, prepare_row, prepare_selection
from lunet_cli.engine.benchmarking.plan import plan_rows
from lunet_cli.engine.benchmarking.row_plan import RowPlan
from lunet_cli.engine.runtimes.runtime import RuntimePlan


def plan(**changes: object) -> RowPlan:
    options = {"architectures": ("lunet_small_1f",), "sizes": (16,), "devices": ("cpu",), **changes}
    (row,), _ = plan_rows(BenchOptions(**options))
    return row.plan


def test_only_timed_passes_are_told() -> None:
    measure = prepare_row(plan())
    assert len(measure(Passes(untimed=2, timed=3)).times_ms) == 3
    done = measure(Passes(untimed=0, timed=1, is_warm_up=True))
    assert len(done.times_ms) == 1
    assert done.peak_mib > 100, "Python with torch alone takes more"


def test_selection_is_among_the_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    only = RuntimePlan("torch", "cpu", "fp32")
    monkeypatch.setattr("lunet_cli.engine.runtimes.selection.candidate_plans", lambda *_: [only])
    assert prepare_selection(plan(runtimes=("auto",)))(None) == only


def test_workers_load_no_more_than_they_measure_with() -> None:
    """What a worker has loaded counts as memory of its row."""
    script = "import lunet_cli.engine.benchmarking.measuring, sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, encoding="utf-8", check=True
    )
    assert {"ptflops", "sympy"}.isdisjoint(done.stdout.split())
