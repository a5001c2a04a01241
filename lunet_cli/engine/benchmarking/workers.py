"""Processes of their own for what is measured, which answer when they are asked.

Thread pools of different runtimes within one process spin and disturb each other, and the peak
memory of a process is that of all it has ever done. So every row has a process, and waits on a pipe
while it is not its turn.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Generic, TypeVar

import torch

from lunet_cli.errors import LunetError

Task = TypeVar("Task")
Question = TypeVar("Question")
Answer = TypeVar("Answer")
Prepare = Callable[[Task], Callable[[Question], Answer]]

_PATIENCE_SECONDS = 5.0
_MEMORY_HINT = "Choose a smaller --size or --batch."
# Loaded once in a process that every worker is forked from.
_PRELOADED = ["lunet_cli.engine.benchmarking.measuring", "lunet_cli.engine.benchmarking.roofline"]


class Worker(Generic[Task, Question, Answer]):
    """A process that prepares a task, then answers questions about it, one at a time.

    As with any use of `multiprocessing`, a script that calls this needs `if __name__ ==
    "__main__":`.

    Args:
        name: What it works on, for error messages.
        prepare: A function of a module; called in the process, returns what answers the questions.
        task: Its argument.
        num_threads: CPU threads of PyTorch, and of the runtimes that follow it.

    Raises:
        LunetError: The preparation failed, or the process died.
    """

    def __init__(
        self, name: str, prepare: Prepare[Task, Question, Answer], task: Task, *, num_threads: int
    ) -> None:
        self._name = name
        method = (
            "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
        )
        context = multiprocessing.get_context(method)
        context.set_forkserver_preload(_PRELOADED)
        self._pipe, theirs = context.Pipe()
        arguments = (theirs, prepare, task, num_threads)
        # mypy knows only that contexts have processes of some kind.
        new_process = context.Process  # type: ignore[attr-defined]
        self._process = new_process(target=_serve, args=arguments, daemon=True)
        try:
            self._process.start()
            theirs.close()
            self._receive()
        except BaseException:
            self.close()
            raise

    def ask(self, question: Question) -> Answer:
        """Wait for the answer.

        Raises:
            LunetError: With the cause of the failure, in one line that names the task.
        """
        try:
            self._pipe.send(question)
        except OSError:
            raise self._death() from None
        return self._receive()

    def close(self) -> None:
        """End the process."""
        self._pipe.close()
        if self._process.pid is not None:
            self._process.terminate()
            self._process.join(_PATIENCE_SECONDS)
            if self._process.is_alive():
                self._process.kill()
                self._process.join()

    def __enter__(self) -> Worker[Task, Question, Answer]:
        """Close at the end of the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        """See `close`."""
        self.close()

    def _receive(self) -> Answer:
        try:
            failure, answer = self._pipe.recv()
        except (EOFError, OSError):
            raise self._death() from None
        if failure is not None:
            raise type(failure)(f"{self._name}: {failure.message}", failure.hint)
        received: Answer = answer
        return received

    def _death(self) -> LunetError:
        self._process.join(_PATIENCE_SECONDS)
        code = self._process.exitcode
        if code == -signal.SIGKILL:
            return LunetError(
                f"{self._name}: the process was killed, probably for want of memory", _MEMORY_HINT
            )
        cause = (
            f"by {signal.Signals(-code).name}"
            if code is not None and code < 0
            else f"with exit code {code}"
        )
        return LunetError(f"{self._name}: the process ended {cause}")


def _serve(
    pipe: Connection, prepare: Prepare[Task, Question, Answer], task: Task, num_threads: int
) -> None:
    """Answer until the pipe is closed."""
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C reaches the parent too, which ends its workers.
    os.dup2(2, 1)  # Whatever libraries print, standard output is for results.
    torch.set_num_threads(num_threads)
    try:
        answer = prepare(task)
        pipe.send((None, None))
        while True:
            try:
                question = pipe.recv()
            except EOFError:
                return
            pipe.send((None, answer(question)))
    except BrokenPipeError:
        return
    except Exception as error:  # whatever it is, the parent says it
        pipe.send((_as_lunet_error(error), None))


def _as_lunet_error(error: Exception) -> LunetError:
    if isinstance(error, LunetError):
        return error
    reason = next(
        (line.strip() for line in str(error).splitlines() if line.strip()), "no reason given"
    )
    is_memory = (
        isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in reason
    )
    return LunetError(f"{type(error).__name__}: {reason}", _MEMORY_HINT if is_memory else "")
