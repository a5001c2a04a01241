"""Trials of a study in processes of their own.

`engine.benchmarking.workers` has processes that answer questions one at a time; these report what
happens while they work, save their state when they are asked to end, and may have workers that
load data, which processes that end with their parent must not have.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from typing import Literal, NamedTuple

from lunet_cli.engine.process_context import process_context
from lunet_cli.errors import LunetError
from lunet_cli.results.events import Event, WarningIssued
from lunet_cli.results.pruning import PruningStepDone
from lunet_cli.results.studies import TrialDone, TrialFailed, TrialMoved, TrialTaken
from lunet_cli.results.training import EpochDone

# To load them takes each process three seconds. Half of that is PyTorch's compiler, which its
# optimisers ask for.
TRIAL_MODULES = (
    "lunet_cli.engine.training.train",
    "lunet_cli.engine.evaluation.evaluate",
    "torch._dynamo",
)
"""What the processes of trials need, loaded once for all of them."""

Outcome = Literal["finished", "interrupted", "taken"]
Work = Callable[[Callable[[Event], None]], Outcome]
"""What a process does: it tells events, and returns how it has ended. It can be pickled."""

# Ctrl-C and a closed terminal reach all processes of a terminal, but the second of two signals ends
# a training at once: that of the study is enough. Windows has no SIGHUP.
_HELD_BACK = [getattr(signal, name) for name in ("SIGINT", "SIGHUP") if hasattr(signal, name)]


class _End(NamedTuple):
    """The last that a process sends.

    Args:
        message: Why it failed; empty where it did not.
        hint: What to do about it.
        is_taken: Whether somebody else works on the trial.
    """

    message: str = ""
    hint: str = ""
    is_taken: bool = False


class TrialProcess:
    """A trial that runs.

    Args:
        name: What it is called.
        work: What it does.
        num_threads: CPU threads of PyTorch.
        progress: The events that are told beside warnings; all else stands in the log of the trial.
    """

    def __init__(self, name: str, work: Work, *, num_threads: int, progress: type[Event]) -> None:
        self.name = name
        self._start = time.monotonic()
        context = process_context(_HELD_BACK, preloaded=TRIAL_MODULES)
        self.pipe, theirs = context.Pipe(duplex=False)
        # mypy knows only that contexts have processes of some kind.
        new_process = context.Process  # type: ignore[attr-defined]
        self._process = new_process(target=_serve, args=(theirs, work, num_threads, progress))
        self._process.start()
        theirs.close()

    def receive(self) -> Event | None:
        """What there is to tell, once there is something.

        The last is a `TrialDone`, a `TrialFailed` or a `TrialTaken`; None says that a signal has
        stopped the trial.
        """
        try:
            received: Event | _End = self.pipe.recv()
        except (EOFError, OSError):
            return self._death()
        if not isinstance(received, _End):
            return _told(self.name, received)
        self._process.join()
        if received.message:
            return TrialFailed(self.name, received.message, received.hint)
        if received.is_taken:
            return TrialTaken(self.name)
        return TrialDone(self.name, time.monotonic() - self._start, 0)

    def stop(self) -> None:
        """Ask it to save its state and end."""
        self._process.terminate()

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.join()

    def _death(self) -> Event | None:
        """What to tell of a process that has ended without a word."""
        self._process.join()
        code = self._process.exitcode or 0
        # multiprocessing gives the signal that ended a process as a negative number.
        if -code == signal.SIGKILL:
            message = "its process was killed, probably for want of memory"
            return TrialFailed(self.name, message, "Run fewer at once: `jobs=1`")
        if code in (0, -signal.SIGTERM, 128 + signal.SIGTERM):
            return None
        return TrialFailed(self.name, f"its process ended with exit code {code}")


def wait_for(running: Sequence[TrialProcess], seconds: float) -> list[TrialProcess]:
    """Those that have something to tell, after at most so many seconds."""
    if not running:
        time.sleep(seconds)
    ready = wait([process.pipe for process in running], seconds)
    return [process for process in running if process.pipe in ready]


def _serve(pipe: Connection, work: Work, num_threads: int, progress: type[Event]) -> None:
    """Run a trial, and tell how that went."""
    # Whatever libraries print, standard output is for results.
    os.dup2(2, 1)
    # Not above: who starts such processes has no use for PyTorch.
    import torch

    torch.set_num_threads(num_threads)
    threading.Thread(target=_end_with_parent, daemon=True).start()

    def tell(event: Event) -> None:
        if isinstance(event, progress | WarningIssued):
            _send(pipe, event)

    try:
        outcome = work(tell)
        # One that was interrupted ends without a word.
        if outcome != "interrupted":
            _send(pipe, _End(is_taken=outcome == "taken"))
    except LunetError as error:
        _send(pipe, _End("; ".join(error.lines), error.hint))
    except Exception as error:  # One trial must not end the others, whatever it is.
        traceback.print_exc()
        reason, *_ = str(error).strip().splitlines() or ["no reason given"]
        _send(pipe, _End(f"{type(error).__name__}: {reason}"))


def _send(pipe: Connection, message: Event | _End) -> None:
    # Nobody listens any more if the study was killed; the state is saved nevertheless.
    with contextlib.suppress(OSError):
        pipe.send(message)


def _end_with_parent() -> None:
    """Stop as if asked to when the study has been killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


def _told(trial: str, event: Event) -> Event:
    """An event of a trial as the study tells it."""
    if isinstance(event, EpochDone):
        record = event.record
        detail = f"train loss {record.train_loss:.4f}"
        if record.is_validated:
            detail = f"val Dice {record.val_dice:.4f}"
        return TrialMoved(trial, record.epoch, event.num_epochs, detail, record.val_dice)
    if isinstance(event, PruningStepDone):
        step = event.record
        detail = f"{step.parameters:,} parameters, val Dice {step.val_dice:.4f}"
        return TrialMoved(trial, step.step, event.num_steps, detail, step.val_dice)
    if isinstance(event, WarningIssued):
        return WarningIssued(f"{trial}: {event.text}")
    return event
