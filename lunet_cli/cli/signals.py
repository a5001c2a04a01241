"""Signals that end a command as Ctrl-C does, so that it leaves nothing half done behind."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise `KeyboardInterrupt`, unless they are ignored, as under nohup."""
    ending: list[int] = []
    for name in ("SIGTERM", "SIGHUP"):  # Windows has no SIGHUP.
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _interrupt)
            ending.append(number)
    try:
        yield
    finally:
        for number in ending:
            signal.signal(number, signal.SIG_DFL)


@contextlib.contextmanager
def stopped_by_signals(stop: threading.Event) -> Iterator[None]:
    """Let the first signal set `stop`, so that what is going on can finish; the second interrupts.

    These are SIGINT, and SIGTERM and SIGHUP unless they are ignored.
    """

    def on_signal(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    earlier: dict[int, Any] = {}
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # Windows has no SIGHUP.
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            earlier[number] = signal.signal(number, on_signal)
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
