"""Rows that take turns, so that a drift of the machine meets all alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from lunet_cli.engine.benchmarking.measuring import Turn, TurnDone, prepare_row
from lunet_cli.engine.benchmarking.rows import RowPlan
from lunet_cli.engine.benchmarking.workers import Worker
from lunet_cli.errors import LunetError
from lunet_cli.results.benchmarking import RoundDone, RowPrepared
from lunet_cli.results.events import CaseFailed, Event

OnEvent = Callable[[Event], None]

_SHORT_MS = 20.0  # Several passes fit into one turn.
_PASSES_PER_TURN = 5
_LONG_MS = 500.0  # Filling the caches again is a small part of a pass.


@dataclass(frozen=True)
class Timings:
    """What the turns of a row gave together.

    Args:
        times_ms: Time of each timed pass.
        peak_mib: Peak of the memory.
        energy_j: Joules per pass; None where they cannot be read.
    """

    times_ms: tuple[float, ...]
    peak_mib: float
    energy_j: float | None


class _Row:
    """A row while it is measured."""

    def __init__(self, plan: RowPlan) -> None:
        self.plan = plan
        self.worker: Worker[RowPlan, Turn, TurnDone] = Worker(
            str(plan), prepare_row, plan, num_threads=plan.num_threads
        )
        self._pass_ms: float | None = None
        self._done: list[TurnDone] = []

    @property
    def num_passes(self) -> int:
        return sum(len(done.times_ms) for done in self._done)

    @property
    def is_finished(self) -> bool:
        return self.num_passes >= self.plan.timed_runs

    def warm_up(self) -> None:
        if self.plan.warmup_runs:
            self._pass_ms = self.worker.ask(
                Turn(0, self.plan.warmup_runs, is_warm_up=True)
            ).times_ms[-1]

    def take_turn(self) -> None:
        left = self.plan.timed_runs - self.num_passes
        is_short = self._pass_ms is not None and self._pass_ms < _SHORT_MS
        refresh = self._pass_ms is not None and self._pass_ms < _LONG_MS
        done = self.worker.ask(Turn(int(refresh), min(left, _PASSES_PER_TURN if is_short else 1)))
        self._pass_ms = done.times_ms[-1]
        self._done.append(done)

    def timings(self) -> Timings:
        energies = [done.energy_j for done in self._done if done.energy_j is not None]
        return Timings(
            times_ms=tuple(time for done in self._done for time in done.times_ms),
            peak_mib=max(done.peak_mib for done in self._done),
            energy_j=sum(energies) / self.num_passes if len(energies) == len(self._done) else None,
        )


def measure_round_robin(
    plans: Sequence[RowPlan], on_event: OnEvent, *, num_before: int, num_rows: int
) -> dict[RowPlan, Timings | CaseFailed]:
    """Measure rows that are in memory together; one computes while the others wait.

    Args:
        plans: The rows.
        on_event: Told of progress, and of each row that fails.
        num_before: Rows of groups before this one.
        num_rows: Rows of all groups.
    """
    results: dict[RowPlan, Timings | CaseFailed] = {}
    with ExitStack() as stack:
        rows = []
        for number, plan in enumerate(plans, start=num_before + 1):
            try:
                row = _Row(plan)
                stack.callback(row.worker.close)
                row.warm_up()
            except LunetError as error:
                results[plan] = report_failure(plan, error, on_event)
                continue
            rows.append(row)
            on_event(RowPrepared(str(plan), number, num_rows))
        _go_round(rows, results, on_event)
    return results


def report_failure(plan: RowPlan, error: LunetError, on_event: OnEvent) -> CaseFailed:
    """Say that a row cannot be measured, and go on."""
    failed = CaseFailed(str(plan), error.message, error.hint)
    on_event(failed)
    return failed


def _go_round(
    rows: list[_Row], results: dict[RowPlan, Timings | CaseFailed], on_event: OnEvent
) -> None:
    running = rows
    while running:
        for row in running:
            try:
                row.take_turn()
            except LunetError as error:
                results[row.plan] = report_failure(row.plan, error, on_event)
            else:
                if row.is_finished:
                    results[row.plan] = row.timings()
        num_done = sum(row.num_passes for row in rows)
        # A row that has failed counts as done.
        left = sum(row.plan.timed_runs - row.num_passes for row in rows if row.plan not in results)
        on_event(RoundDone(num_done, num_done + left))
        running = [row for row in running if row.plan not in results]
