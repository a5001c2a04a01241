"""The history of a run at services beside its folder; none of them can stop or slow a training."""

from __future__ import annotations

import importlib
import itertools
import queue
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from lunet_cli.config.run import RunConfig
from lunet_cli.engine.run_folder import RunFolder
from lunet_cli.engine.training.trackers import (
    GRACE_S,
    SERVICES,
    Ending,
    KnownIds,
    Point,
    Service,
    TrackedRun,
)
from lunet_cli.errors import LunetError
from lunet_cli.records.history import history_values
from lunet_cli.results.events import Event, Notice, WarningIssued
from lunet_cli.results.training import EpochDone, EpochRecord

# Servers answer with whole pages.
_MOST_SHOWN = 300


class Tracking:
    """Within the `with` block, epochs are shown by all services that a configuration enables.

    Args:
        config: The configuration of the run.
        folder: Its folder.
        history: Epochs of before, for services that have not all of them.
        report: Called with where the run can be seen, and once for each service that gives up.
        services: Those that may be asked for; all if not given.
    """

    def __init__(
        self,
        config: RunConfig,
        folder: RunFolder,
        history: Sequence[EpochRecord],
        report: Callable[[Event], None],
        services: Sequence[Service] | None = None,
    ) -> None:
        self.ending: Ending = "failed"
        """How the training has ended; said to the services at the end of the block."""
        self._report = report
        self._mirrors: list[_Mirror] = []
        run = TrackedRun(config, folder, KnownIds(folder))
        for service in SERVICES if services is None else services:
            if service.is_wanted(config) and self._is_there(service):
                self._mirrors.append(_Mirror(service, run))
        self._send(points_of(history, time.time()))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for mirror in self._mirrors:
            mirror.end(self.ending)
        deadline = time.monotonic() + GRACE_S
        for mirror in self._mirrors:
            mirror.wait(deadline - time.monotonic())
        self._tell()

    def show(self, event: EpochDone) -> None:
        """Show an epoch that has just ended."""
        self._send(points_of([event.record], time.time()))
        self._tell()

    def _send(self, points: Sequence[Point]) -> None:
        for mirror in self._mirrors:
            mirror.send(points)

    def _tell(self) -> None:
        """Report what has happened in the threads; events belong into that of the caller."""
        for mirror in self._mirrors:
            for event in mirror.news():
                self._report(event)

    def _is_there(self, service: Service) -> bool:
        """Import the library of a service, or warn.

        It is done here and not in its thread: a data loader that forks amid an import hangs.
        """
        try:
            importlib.import_module(service.module)
        except ModuleNotFoundError:
            name = service.section
            self._report(
                WarningIssued(
                    f"{name}.enabled is true, but {name} is not installed: "
                    f"pip install 'lunet[{name}]'"
                )
            )
        except Exception as error:
            # A broken installation may raise anything.
            self._report(_given_up(service, error))
        else:
            return True
        return False


def points_of(history: Sequence[EpochRecord], end: float) -> list[Point]:
    """What is shown of epochs, the last of which ended at `end`."""
    durations = [record.epoch_seconds for record in history[1:]]
    before_end = [*itertools.accumulate(reversed(durations), initial=0.0)]
    return [
        Point(record.epoch, history_values(record), end - seconds)
        for record, seconds in zip(history, reversed(before_end), strict=False)
    ]


class _Mirror:
    """A service in a thread of its own, which a network that does not answer may hold."""

    def __init__(self, service: Service, run: TrackedRun) -> None:
        self._service = service
        self._run = run
        self._waiting: queue.SimpleQueue[Point | Ending] = queue.SimpleQueue()
        self._news: queue.SimpleQueue[Event] = queue.SimpleQueue()
        # A daemon: Python does not wait for it at its end.
        self._thread = threading.Thread(
            target=self._work, name=f"lunet {service.title}", daemon=True
        )
        self._thread.start()

    def send(self, points: Sequence[Point]) -> None:
        for point in points:
            self._waiting.put(point)

    def end(self, ending: Ending) -> None:
        self._waiting.put(ending)

    def wait(self, seconds: float) -> None:
        """Wait until all is sent; what is not by then is left out."""
        self._thread.join(max(seconds, 0))
        if self._thread.is_alive():
            told = f"it has not taken everything within {GRACE_S} s"
            self._news.put(_given_up(self._service, told))

    def news(self) -> list[Event]:
        events = []
        while not self._news.empty():
            events.append(self._news.get())
        return events

    def _work(self) -> None:
        try:
            tracker = self._service.show(self._run)
            self._news.put(Notice(f"{self._service.title} shows this run: {tracker.place}"))
            ending: Ending | None = None
            while ending is None:
                points, ending = self._next()
                tracker.send(points)
            tracker.close(ending)
        except Exception as error:
            # A mirror must never stop a training, whatever its library raises.
            self._news.put(_given_up(self._service, error))

    def _next(self) -> tuple[list[Point], Ending | None]:
        """Wait for something to show, and take all that is there: slow services get it at once."""
        points: list[Point] = []
        while not points or not self._waiting.empty():
            found = self._waiting.get()
            if isinstance(found, str):
                return points, found
            points.append(found)
        return points, None


def _given_up(service: Service, error: Exception | str) -> WarningIssued:
    told = str(error)
    if isinstance(error, LunetError):
        told = error.message
    elif isinstance(error, Exception):
        told = repr(error)
    if len(told) > _MOST_SHOWN:
        told = f"{told[:_MOST_SHOWN]}..."
    return WarningIssued(f"{service.title} is left out from here on: {told}")
