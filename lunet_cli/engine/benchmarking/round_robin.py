"""Rows that are measured round-robin, so that a drift of the machine meets all alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from lunet_cli.engine.benchmarking.measuring import Passes, PassTimes, prepare_row
from lunet_cli.engine.benchmarking.row_plan import RowPlan
from lunet_cli.engine.benchmarking.workers import Worker
from lunet_cli.errors import LunetError
from lunet_cli.results.benchmarking import RoundDone, RowPrepared
from lunet_cli.results.events import CaseFailed, Event

OnEvent = Callable[[Event], None]

# Passes below this are measured several at a time: waking a process costs it a part of a
# millisecond, which is much of a short pass.
_SHORT_MS = 20.0
_PASSES_TOGETHER = 5
# Above this, filling the caches again is a small part of a pass.
_LONG_MS = 500.0


@dataclass(frozen=True)
class Timings:
    """What the passes of a row took together.

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
        self.worker: Worker[RowPlan, Passes, PassTimes] = Worker(
            str(plan), prepare_row, plan, num_threads=plan.num_threads
        )
        self._pass_ms: float | None = None
        self._done: list[PassTimes] = []
        self._times_ms: list[float] = []

    @property
    def num_passes(self) -> int:
        return len(self._times_ms)

    @property
    def num_left(self) -> int:
        return self.plan.timed_runs - self.num_passes

    def warm_up(self) -> None:
        if self.plan.warmup_runs:
            done = self.worker.ask(Passes(0, self.plan.warmup_runs, is_warm_up=True))
            self._pass_ms = done.times_ms[-1]

    def measure_some(self) -> int:
        """Compute some passes, and return their number."""
        done = self.worker.ask(self._next_passes())
        self._pass_ms = done.times_ms[-1]
        self._done.append(done)
        self._times_ms += done.times_ms
        return len(done.times_ms)

    def _next_passes(self) -> Passes:
        if self._pass_ms is None or self._pass_ms >= _LONG_MS:
            return Passes(untimed=0, timed=1)
        # The other rows have taken the caches meanwhile.
        if self._pass_ms >= _SHORT_MS:
            return Passes(untimed=1, timed=1)
        return Passes(untimed=1, timed=min(self.num_left, _PASSES_TOGETHER))

    def timings(self) -> Timings:
        peak_mib, energy_j = 0.0, 0.0
        is_energy_known = True
        for done in self._done:
            peak_mib = max(peak_mib, done.peak_mib)
            if done.energy_j is None:
                is_energy_known = False
            else:
                energy_j += done.energy_j
        per_pass = energy_j / self.num_passes if is_energy_known else None
        return Timings(tuple(self._times_ms), peak_mib, per_pass)


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
        for plan, result in _go_round(rows, on_event):
            results[plan] = result
    return results


def report_failure(plan: RowPlan, error: LunetError, on_event: OnEvent) -> CaseFailed:
    """Say that a row cannot be measured, and go on."""
    failed = CaseFailed(str(plan), error.message, error.hint)
    on_event(failed)
    return failed


def _go_round(
    rows: Sequence[_Row], on_event: OnEvent
) -> Iterator[tuple[RowPlan, Timings | CaseFailed]]:
    """Measure in rounds until each row has all its passes or has failed; each row as it ends."""
    running = list(rows)
    num_done = 0
    while running:
        for row in list(running):
            try:
                num_done += row.measure_some()
            except LunetError as error:
                running.remove(row)
                yield row.plan, report_failure(row.plan, error, on_event)
                continue
            if row.num_left == 0:
                running.remove(row)
                yield row.plan, row.timings()
        # What a row that has failed did not measure is not left to do.
        num_left = 0
        for row in running:
            num_left += row.num_left
        on_event(RoundDone(num_done, num_done + num_left))
