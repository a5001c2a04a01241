from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from lunet_cli.engine.training.interrupts import InterruptGuard, InterruptRequested, unwinding


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_met_at_the_next_check(number: signal.Signals) -> None:
    with InterruptGuard() as guard:
        guard.check()
        os.kill(os.getpid(), number)
        assert guard.signal == number
        with pytest.raises(InterruptRequested):
            guard.check()


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_stops_at_once(second: signal.Signals) -> None:
    with InterruptGuard() as guard:
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), second)
        assert guard.signal == signal.SIGINT


def fail_within_a_guard() -> None:
    with InterruptGuard():
        raise ValueError("inside")


def test_handlers_are_restored_after_an_error() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with InterruptGuard():
        assert signal.getsignal(signal.SIGINT) != before[0]
        with pytest.raises(ValueError, match="inside"):
            fail_within_a_guard()
        assert signal.getsignal(signal.SIGTERM) != before[1]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_other_threads_leave_the_handlers_alone() -> None:
    before = signal.getsignal(signal.SIGINT)
    seen: list[object] = []

    def work() -> None:
        with InterruptGuard() as guard:
            guard.check()
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


@pytest.fixture(params=[signal.SIGTERM, signal.SIGHUP])
def ending(request: pytest.FixtureRequest) -> Iterator[signal.Signals]:
    """A signal that ends a process, as it is at its start; these tests may run under nohup."""
    before = signal.signal(request.param, signal.SIG_DFL)
    yield request.param
    signal.signal(request.param, before)


def test_termination_and_a_closed_terminal_are_wishes_too(ending: signal.Signals) -> None:
    with unwinding(), InterruptGuard() as guard:
        os.kill(os.getpid(), ending)
        assert guard.signal == ending


def test_nohup_is_respected() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with unwinding(), InterruptGuard() as guard:
            os.kill(os.getpid(), signal.SIGHUP)
            assert guard.signal == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def be_terminated(number: signal.Signals, left: list[bool]) -> None:
    with unwinding():
        try:
            os.kill(os.getpid(), number)
        finally:
            left.append(True)


def test_termination_unwinds_so_that_nothing_is_left(ending: signal.Signals) -> None:
    left: list[bool] = []
    with pytest.raises(SystemExit) as caught:
        be_terminated(ending, left)
    assert caught.value.code == 128 + ending
    assert left == [True]
    assert signal.getsignal(ending) == signal.SIG_DFL
