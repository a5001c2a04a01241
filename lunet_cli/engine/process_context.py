"""How processes of our own are started."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Collection
from multiprocessing.context import BaseContext

# The server starts once in the life of a process, whoever asks first. What `bench` measures in must
# hold nothing that it does not measure with; others load the rest themselves.
_PRELOADED = ["lunet_cli.engine.benchmarking.measuring", "lunet_cli.engine.benchmarking.roofline"]


def process_context(held_back: Collection[signal.Signals]) -> BaseContext:
    """A context for processes that are forked from a server which has loaded torch.

    Where there is no such server, each process loads all by itself.

    Args:
        held_back: Signals that reach all processes of a terminal, and should not reach these.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    from multiprocessing import forkserver, resource_tracker

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    # The server loads torch for seconds. Ctrl-C reaches it too, and would make it print a
    # traceback; what is blocked while a process is started is blocked in that process for good,
    # and in those that it starts. The tracker comes first: where the server starts it, it unblocks
    # the signal again.
    resource_tracker.ensure_running()
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, held_back)
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    return context
