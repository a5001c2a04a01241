from __future__ import annotations

import os
import signal
import sys

import pytest

from lunet_cli.cli.signals import ended_by_signals

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_end_a_command_as_ctrl_c_does(number: signal.Signals) -> None:
    def be_ended() -> None:
        with ended_by_signals():
            os.kill(os.getpid(), number)
            signal.pause()

    assert signal.getsignal(number) is signal.SIG_DFL
    with pytest.raises(KeyboardInterrupt):
        be_ended()
    assert signal.getsignal(number) is signal.SIG_DFL


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with ended_by_signals():
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
