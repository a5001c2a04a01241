"""Works on the trainings of a study, beside other processes that do the same.

There is no list of who does what: a training belongs to whoever holds its claim, a lock that the
system takes back when a process dies (docs/adr/0033).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Protocol

from lunet_cli.engine.studies.failures import FailureNotes
from lunet_cli.engine.studies.plan import CLAIMS, Run, Variant
from lunet_cli.engine.studies.trial_processes import TrialProcess, wait_for
from lunet_cli.engine.studies.work import work_on
from lunet_cli.engine.training.interrupts import InterruptGuard
from lunet_cli.results.events import Event, Notice
from lunet_cli.results.studies import TrialDone, TrialFailed, TrialMoved, TrialStarted, TrialTaken
from lunet_cli.results.training import EpochDone
from lunet_cli.results.words import plural

OnEvent = Callable[[Event], None]

_PATIENCE_SECONDS = 0.5  # until a signal is looked for again
_POLL_SECONDS = 2.0  # until it is looked again for what others have left or finished


class Source(Protocol):
    """Where trainings come from."""

    def runs(self) -> Sequence[Run]:
        """Those that are known so far and are not given up, the next ones first."""

    def extend(self) -> bool:
        """Choose a further combination; whether there was one."""

    def num_to_come(self) -> int:
        """Trainings that will be chosen later."""

    def is_hopeless(self, run: Run, moved: TrialMoved) -> bool:
        """Whether a training should be given up; takes note of how far it is."""

    def failures(self) -> Sequence[TrialFailed]:
        """Combinations that no training can be made of."""

    def variants(self) -> Sequence[Variant]:
        """The combinations so far."""

    def hopeless(self) -> Sequence[str]:
        """Names of the combinations that were given up."""


class Runner:
    """Trainings as they run.

    Args:
        source: Where they come from.
        folder: The folder of the study.
        jobs: How many run at once.
        waits: Whether to wait for those of other processes.
        guard: Tells of signals.
        on_event: Called with what happens.
    """

    def __init__(
        self,
        source: Source,
        folder: Path,
        *,
        jobs: int,
        waits: bool,
        guard: InterruptGuard,
        on_event: OnEvent,
    ) -> None:
        self._source, self._guard, self._on_event = source, guard, on_event
        self._jobs, self._waits = jobs, waits
        self._num_threads = max(1, (os.cpu_count() or 1) // jobs)
        self._running: dict[str, tuple[Run, TrialProcess]] = {}
        self._done: set[str] = set()
        self._failed: dict[str, TrialFailed] = {}
        self._notes = FailureNotes(folder / CLAIMS)
        self._is_waiting = self._awaits_others = False
        self._looked = -_POLL_SECONDS

    @property
    def failures(self) -> tuple[TrialFailed, ...]:
        """Trainings that failed, here or elsewhere, and have not been done since."""
        found = [*self._source.failures()]
        for run in self._source.runs():
            if run.name in self._failed and not run.is_done:
                found.append(self._failed[run.name])
        return tuple(found)

    @property
    def unfinished(self) -> tuple[str, ...]:
        """Trainings that have neither ended nor failed."""
        return tuple(run.name for run in self._left())

    def run(self) -> None:
        """Go on until nothing is left, or a signal comes; then all that run save their state."""
        try:
            while not self._guard.signal and self._goes_on():
                self._listen()
            for _, process in self._running.values():
                process.stop()
            while self._running:
                self._listen()
        finally:
            for _, process in self._running.values():
                process.kill()

    def _goes_on(self) -> bool:
        """Start what can be started; whether there is anything to wait for."""
        if len(self._running) < self._jobs and self._is_time_to_look():
            self._looked = time.monotonic()
            self._start_some()
            left = list(self._left())
            self._awaits_others = self._waits and bool(left)
            if self._awaits_others and not self._running:
                self._tell_waiting(left)
        return bool(self._running) or self._awaits_others

    def _is_time_to_look(self) -> bool:
        """Whether it may have changed what there is to do; on a shared folder, to look costs."""
        if not self._is_waiting and not self._running:
            return True
        return time.monotonic() - self._looked >= _POLL_SECONDS

    def _start_some(self) -> None:
        while len(self._running) < self._jobs and not self._guard.signal:
            run = next(self._free(), None)
            if run is not None:
                self._start(run)
            elif not self._source.extend():
                return

    def _left(self) -> Iterator[Run]:
        """Those that are neither done nor failed; what has been done elsewhere counts as done."""
        for run in self._source.runs():
            if run.name in self._done or run.name in self._failed:
                continue
            if run.name not in self._running and run.is_done:
                self._done.add(run.name)
                continue
            yield run

    def _free(self) -> Iterator[Run]:
        """Those that nobody works on."""
        for run in self._left():
            if run.name in self._running or run.holder is not None:
                continue
            failure = self._notes.new(run.name)
            if failure is None:
                yield run
            elif not run.is_done:
                self._fail(failure)

    def _start(self, run: Run) -> None:
        num_threads = run.config.training.num_threads or self._num_threads
        self._is_waiting = False
        self._on_event(TrialStarted(run.name, num_threads))
        # Made here: who holds a claim removes its folder again where it has made it.
        run.claim.mkdir(parents=True, exist_ok=True)
        self._notes.forget(run.name)
        work = partial(work_on, run)
        process = TrialProcess(run.name, work, num_threads=num_threads, progress=EpochDone)
        self._running[run.name] = run, process

    def _listen(self) -> None:
        """Tell what the running trainings tell; take those off the list that have ended."""
        processes = [process for _, process in self._running.values()]
        for process in wait_for(processes, _PATIENCE_SECONDS):
            self._hear(process.name, process.receive())

    def _hear(self, name: str, event: Event | None) -> None:
        run, process = self._running[name]
        match event:
            case TrialMoved():
                self._on_event(event)
                if self._source.is_hopeless(run, event):
                    self._give_up(name, process)
                return
            case None | TrialTaken() | TrialFailed() | TrialDone():
                del self._running[name]
                self._looked = -_POLL_SECONDS
            case _:
                self._on_event(event)
                return
        if event is None:
            self._note_stopped(name)
        elif isinstance(event, TrialFailed):
            self._notes.write(event)
            self._fail(event)
        elif isinstance(event, TrialDone):
            self._done.add(name)
            num_left = sum(1 for _ in self._left()) + self._source.num_to_come()
            self._on_event(replace(event, num_left=num_left))
        else:
            self._on_event(event)

    def _give_up(self, name: str, process: TrialProcess) -> None:
        self._on_event(Notice(f"{name}: is given up, since others were better at this epoch"))
        process.stop()

    def _note_stopped(self, name: str) -> None:
        # Otherwise, the study has stopped it itself.
        is_given_up = all(run.name != name for run in self._source.runs())
        if not self._guard.signal and not is_given_up:
            hint = "Start the study again to go on with it."
            failure = TrialFailed(name, "was stopped by a signal", hint)
            self._notes.write(failure)
            self._fail(failure)

    def _fail(self, failure: TrialFailed) -> None:
        self._failed[failure.trial] = failure
        self._on_event(failure)

    def _tell_waiting(self, left: Sequence[Run]) -> None:
        if self._is_waiting:
            return
        self._is_waiting = True
        first, *_ = left
        who = first.holder or "another process"
        number = plural(len(left), "training")
        self._on_event(Notice(f"waiting for {number} of others, such as {first.name} by {who}"))
