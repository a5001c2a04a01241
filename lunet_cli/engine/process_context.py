"""How processes of our own are started."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Collection, Sequence
from multiprocessing.context import BaseContext

# What `bench` measures in holds nothing that it does not measure with.
_PRELOADED = ("lunet_cli.engine.benchmarking.measuring", "lunet_cli.engine.benchmarking.roofline")


def process_context(
    held_back: Collection[signal.Signals], *, preloaded: Sequence[str] = _PRELOADED
) -> BaseContext:
    """A context for processes that are forked from a server which has loaded torch.

    Where there is no such server, each process loads all by itself.

    Args:
        held_back: Signals that reach all processes of a terminal, and should not reach these.
        preloaded: Modules that the server loads. It starts once in the life of a process, so that
            those count that are asked for first.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    from multiprocessing import forkserver, resource_tracker

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(preloaded))
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
