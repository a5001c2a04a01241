from __future__ import annotations

import pytest

from lunet_cli.config.options import BenchOptions
from lunet_cli.engine.benchmarking.measuring import PassTimes
from lunet_cli.engine.benchmarking.plan import plan_rows
from lunet_cli.engine.benchmarking.round_robin import measure_round_robin
from lunet_cli.errors import LunetError
from lunet_cli.results.benchmarking import RoundDone, RowPrepared
from lunet_cli.results.events import CaseFailed, Event


class FakeWorker:
    """Answers at once, and dies where it is told to; all workers write one log."""

    log: list[tuple[str, int, int]]
    pass_ms = {16: 1.0, 32: 100.0, 48: 900.0}
    dies: set[int]

    def __init__(self, name: str, prepare: object, plan, *, num_threads: int) -> None:
        self.edge = plan.shape[2]

    def ask(self, passes) -> PassTimes:
        self.log.append((self.edge, passes.untimed, passes.timed))
        if self.edge in self.dies and not passes.is_warm_up:
            raise LunetError("it died")
        return PassTimes((self.pass_ms[self.edge],) * passes.timed, 300.0, 2.0 * passes.timed)

    def close(self) -> None:
        self.log.append((self.edge, -1, -1))


@pytest.fixture
def fake_worker(monkeypatch: pytest.MonkeyPatch) -> type[FakeWorker]:
    FakeWorker.log, FakeWorker.dies = [], set()
    monkeypatch.setattr("lunet_cli.engine.benchmarking.round_robin.Worker", FakeWorker)
    return FakeWorker


def plans_of(*edges: int):
    options = BenchOptions(
        architectures=("lunet_small_1f",),
        sizes=edges,
        devices=("cpu",),
        warmup_runs=1,
        timed_runs=7,
    )
    return [row.plan for row in plan_rows(options)[0]]


def test_rows_go_round_and_short_passes_are_timed_together(fake_worker) -> None:
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
