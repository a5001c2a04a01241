"""Ctrl-C and termination as a wish that the training loop meets between two steps."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any

from lunet_cli.engine.process_group import ALONE, ProcessGroup

# A terminal that is closed hangs up; Windows knows no such signal.
_ENDING = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


@contextlib.contextmanager
def unwinding() -> Iterator[None]:
    """Within the block, termination unwinds the stack as Ctrl-C does.

    So locks and half-written files go.
    """
    previous: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number in _ENDING:
            if signal.getsignal(number) == signal.SIG_DFL:
                previous[number] = signal.signal(number, _leave)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _leave(number: int, _frame: FrameType | None) -> None:
    # As a shell reports a program that the signal has ended.
    raise SystemExit(128 + number)


class InterruptRequested(Exception):
    """The loop has been asked to stop and its state is whole."""


class InterruptGuard:
    """Within the `with` block, the first SIGINT, SIGTERM or SIGHUP only sets `signal`.

    A second one stops at once.
    A hang-up that is ignored stays so: `nohup` asks for it.

    Args:
        group: The processes that stop together.

    Attributes:
        signal: Its number; 0 as long as none has come.
    """

    def __init__(self, group: ProcessGroup = ALONE) -> None:
        self.signal = 0
        self._group = group
        # A terminal sends Ctrl-C to all its processes, and a launcher hands it on to those that it
        # has started.
        self._patience = 0 if group.size == 1 else 1
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> InterruptGuard:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, *_ENDING):
                if number == signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN:
                    self._previous[number] = signal.signal(number, self._remember)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def is_asked(self) -> bool:
        """Whether a signal has come, to any of the processes that stop together."""
        self.signal = self._group.largest(self.signal)
        return self.signal > 0

    def check(self) -> None:
        """Raise `InterruptRequested` if a signal has come."""
        if self.is_asked():
            raise InterruptRequested

    def _remember(self, number: int, _frame: FrameType | None) -> None:
        if self.signal and self._patience == 0:
            raise KeyboardInterrupt
        if self.signal:
            self._patience -= 1
        self.signal = number
