from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lunet_cli.engine.benchmarking import benchmark as job
from lunet_cli.engine.benchmarking.benchmark import benchmark
from lunet_cli.engine.benchmarking.measuring import TurnDone, prepare_selection
from lunet_cli.engine.benchmarking.plan import BenchOptions
from lunet_cli.engine.benchmarking.round_robin import measure_round_robin
from lunet_cli.engine.runtimes.runtime import RuntimePlan
from lunet_cli.errors import LunetError
from lunet_cli.results.benchmarking import Roofline, RoundDone, RowPrepared
from lunet_cli.results.events import CaseFailed, Event

TINY = BenchOptions(
    architectures=("lunet_small_1f",),
    sizes=((16, 16, 16),),
    threads=(1,),
    devices=("cpu",),
    warmup_runs=1,
    timed_runs=2,
)


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
    result = benchmark(replace(TINY, batches=(3,)))
    (row,) = result.rows
    seconds = row.latency_ms.median / 1000
    assert row.num_runs == 2
    assert row.throughput_per_s == pytest.approx(3 / seconds)
    assert row.flops == 2 * row.macs == 3 * 82_000_640 // 64
    assert row.gflop_per_s == pytest.approx(row.flops / seconds / 1e9)
    assert row.peak_share == pytest.approx(row.gflop_per_s / 100)
    assert 0 < row.bandwidth_share < 1
    (planned,), _ = job.plan_rows(replace(TINY, batches=(3,)))
    assert 100 < row.peak_memory_mib < planned.need.host
    assert row.ratio == 1
    assert row.latency_ms.iqr >= 0
    assert row.latency_ms.p95 >= row.latency_ms.median


def test_other_runtimes() -> None:
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    pytest.importorskip("openvino")
    first, second = benchmark(replace(TINY, runtimes=("onnx", "openvino"))).rows
    assert (first.runtime, second.runtime) == ("onnx", "openvino")
    assert second.ratio == pytest.approx(first.latency_ms.median / second.latency_ms.median)


def test_auto_is_measured_as_what_is_selected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "_selected", lambda plan: RuntimePlan("eager", plan.device, "fp32"))
    events: list[Event] = []
    (row,) = benchmark(replace(TINY, runtimes=("auto", "eager")), events.append).rows
    assert (row.runtime, row.precision) == ("eager", "fp32")
    assert any("eager fp32 on cpu is taken" in str(event) for event in events)


def test_selection_is_among_the_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    only = RuntimePlan("torch", "cpu", "fp32")
    monkeypatch.setattr("lunet_cli.engine.runtimes.selection.candidate_plans", lambda *_: [only])
    (row,), _ = job.plan_rows(replace(TINY, runtimes=("auto",)))
    assert prepare_selection(row.plan)(None) == only


def test_training_step() -> None:
    result = benchmark(replace(TINY, training=True, batches=(2,), runtimes=("eager", "torch")))
    first, second = result.rows
    assert {first.mode, second.mode} == {"training step"}
    assert first.flops == second.flops > 2 * 2 * 82_000_640 // 64


def test_checkpoint(tmp_path: Path, make_threshold_model) -> None:
    path = make_threshold_model(tmp_path / "m.pt")
    (row,) = benchmark(replace(TINY, architectures=(), targets=(path,))).rows
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
    result = benchmark(replace(TINY, targets=(path,)), events.append)
    assert [row.source for row in result.rows] == [None]
    (failure,) = result.failures
    assert str(path) in failure.case
    assert "there is no such checkpoint" in failure.message
    assert failure in events


class FakeWorker:
    """Answers at once, and dies where it is told to; all workers write one log."""

    log: list[tuple[str, int, int]]
    pass_ms = {16: 1.0, 32: 100.0, 48: 900.0}
    dies: set[int]

    def __init__(self, name: str, prepare: object, plan, *, num_threads: int) -> None:
        self.edge = plan.shape[2]

    def ask(self, turn) -> TurnDone:
        self.log.append((self.edge, turn.untimed, turn.timed))
        if self.edge in self.dies and not turn.is_warm_up:
            raise LunetError("it died")
        return TurnDone((self.pass_ms[self.edge],) * turn.timed, 300.0, 2.0 * turn.timed)

    def close(self) -> None:
        self.log.append((self.edge, -1, -1))


@pytest.fixture
def fake_worker(monkeypatch: pytest.MonkeyPatch) -> type[FakeWorker]:
    FakeWorker.log, FakeWorker.dies = [], set()
    monkeypatch.setattr("lunet_cli.engine.benchmarking.round_robin.Worker", FakeWorker)
    return FakeWorker


def plans_of(*edges: int):
    options = replace(TINY, sizes=tuple((edge,) * 3 for edge in edges), timed_runs=7)
    return [row.plan for row in job.plan_rows(options)[0]]


def test_rows_take_turns_and_short_passes_share_one(fake_worker) -> None:
    events: list[Event] = []
    results = measure_round_robin(plans_of(16, 32, 48), events.append, num_before=0, num_rows=3)
    warm_up = [(16, 0, 1), (32, 0, 1), (48, 0, 1)]
    rounds = [(16, 1, 5), (32, 1, 1), (48, 0, 1), (16, 1, 2), (32, 1, 1), (48, 0, 1)] + 5 * [
        (32, 1, 1),
        (48, 0, 1),
    ]
    ends = [(48, -1, -1), (32, -1, -1), (16, -1, -1)]
    assert fake_worker.log == warm_up + rounds + ends
    assert [len(timings.times_ms) for timings in results.values()] == [7, 7, 7]
    assert {timings.energy_j for timings in results.values()} == {2.0}
    assert [event.num_done for event in events if isinstance(event, RowPrepared)] == [1, 2, 3]
    last = [event for event in events if isinstance(event, RoundDone)][-1]
    assert (last.num_passes, last.total) == (21, 21)


def test_row_that_dies_leaves_the_round(fake_worker) -> None:
    fake_worker.dies = {32}
    events: list[Event] = []
    results = measure_round_robin(plans_of(32, 48), events.append, num_before=0, num_rows=2)
    assert [isinstance(result, CaseFailed) for result in results.values()] == [True, False]
    assert fake_worker.log.count((32, 1, 1)) == 1
    assert [event.message for event in events if isinstance(event, CaseFailed)] == ["it died"]
    last = [event for event in events if isinstance(event, RoundDone)][-1]
    assert last.num_passes == last.total == 7
