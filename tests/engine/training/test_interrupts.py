from __future__ import annotations

import os
import signal
import threading

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


def test_closing_the_terminal_is_a_wish_too_and_nohup_is_respected() -> None:
    with InterruptGuard() as guard:
        os.kill(os.getpid(), signal.SIGHUP)
        assert guard.signal == signal.SIGHUP
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


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_termination_unwinds_so_that_nothing_is_left(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    left: list[bool] = []
    with pytest.raises(SystemExit) as caught:
        be_terminated(number, left)
    assert caught.value.code == 128 + number
    assert left == [True]
    assert signal.getsignal(number) == before
