from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lunet_cli.config.options import BenchOptions
from lunet_cli.engine.benchmarking import benchmark as job
from lunet_cli.engine.benchmarking.benchmark import benchmark
from lunet_cli.engine.runtimes.runtime import RuntimePlan
from lunet_cli.results.benchmarking import Roofline
from lunet_cli.results.events import Event

TINY: dict[str, Any] = {
    "architectures": ("lunet_small_1f",),
    "sizes": (16,),
    "threads": (1,),
    "devices": ("cpu",),
    "warmup_runs": 1,
    "timed_runs": 2,
}


def tiny(**changes: Any) -> BenchOptions:
    return BenchOptions(**{**TINY, **changes})


@pytest.fixture(autouse=True)
def no_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Known rooflines instead of measured ones."""
    monkeypatch.setattr(
        job,
        "_measure_rooflines",
        lambda plans: {
            probe: Roofline(probe.device, probe.num_threads, probe.precision, 100.0, 10.0)
            for probe in map(job._probe_of, plans)
        },
    )


def test_derived_numbers_follow_from_the_median() -> None:
    result = benchmark(tiny(batch_sizes=(3,)))
    (row,) = result.rows
    seconds = row.latency_ms.median / 1000
    assert row.num_runs == 2
    assert row.throughput_per_s == pytest.approx(3 / seconds)
    assert row.flops == 2 * row.macs == 3 * 82_000_640 // 64
    assert row.gflop_per_s == pytest.approx(row.flops / seconds / 1e9)
    assert row.peak_share == pytest.approx(row.gflop_per_s / 100)
    assert 0 < row.bandwidth_share < 1
    (planned,), _ = job.plan_rows(tiny(batch_sizes=(3,)))
    assert 100 < row.peak_memory_mib < planned.need.host
    assert row.ratio == 1
    assert row.latency_ms.iqr >= 0
    assert row.latency_ms.p95 >= row.latency_ms.median


def test_other_runtimes() -> None:
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    pytest.importorskip("openvino")
    first, second = benchmark(tiny(runtimes=("onnx", "openvino"))).rows
    assert (first.runtime, second.runtime) == ("onnx", "openvino")
    assert second.ratio == pytest.approx(first.latency_ms.median / second.latency_ms.median)


def test_auto_is_measured_as_what_is_selected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "_selected", lambda plan: RuntimePlan("eager", plan.device, "fp32"))
    events: list[Event] = []
    (row,) = benchmark(tiny(runtimes=("auto", "eager")), on_event=events.append).rows
    assert (row.runtime, row.precision) == ("eager", "fp32")
    assert any("eager fp32 on cpu is taken" in str(event) for event in events)


def test_training_step() -> None:
    result = benchmark(tiny(training=True, batch_sizes=(2,), runtimes=("eager", "torch")))
    first, second = result.rows
    assert {first.mode, second.mode} == {"training step"}
    assert first.flops == second.flops > 2 * 2 * 82_000_640 // 64


def test_checkpoint(tmp_path: Path, make_threshold_model) -> None:
    path = make_threshold_model(tmp_path / "m.pt")
    (row,) = benchmark(tiny(architectures=(), targets=(path,))).rows
    assert (row.source, row.size_on_disk_bytes) == (str(path), path.stat().st_size)


def test_row_that_fails_is_reported_and_the_others_go_on(
    tmp_path: Path, make_threshold_model, monkeypatch
) -> None:
    path = make_threshold_model(tmp_path / "m.pt")
    events: list[Event] = []

    def plan_and_lose_the_file(options: BenchOptions):
        planned = plan_rows(options)
        path.unlink()
        return planned

    plan_rows = job.plan_rows
    monkeypatch.setattr(job, "plan_rows", plan_and_lose_the_file)
    result = benchmark(tiny(targets=(path,)), on_event=events.append)
    assert [row.source for row in result.rows] == [None]
    (failure,) = result.failures
    assert str(path) in failure.case
    assert "there is no such checkpoint" in failure.message
    assert failure in events
