"""Ctrl-C and termination as a wish that the training loop meets between two steps."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any


class InterruptRequested(Exception):
    """The loop has been asked to stop and its state is whole."""


class InterruptGuard:
    """Within the `with` block, the first SIGINT or SIGTERM only sets `signal`; a second one stops at once."""

    def __init__(self) -> None:
        self.signal = 0
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> InterruptGuard:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._remember)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def check(self) -> None:
        """Raise `InterruptRequested` if a signal has come."""
        if self.signal:
            raise InterruptRequested

    def _remember(self, number: int, _frame: FrameType | None) -> None:
        if self.signal:
            raise KeyboardInterrupt
        self.signal = number
