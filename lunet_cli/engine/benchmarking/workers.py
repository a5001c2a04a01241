"""Processes of their own for what is measured, which answer when they are asked.

Thread pools of different runtimes within one process spin and disturb each other, and the peak
memory of a process is that of all it has ever done. So every row has a process, which waits on a
pipe while others compute.

`ProcessPoolExecutor` would not do: it hides how a worker died, waits for what is computed when it
is interrupted, and has no place for a network that is loaded once and asked many times.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Generic, TypeVar

import torch

from lunet_cli.engine.process_context import process_context
from lunet_cli.errors import LunetError

Task = TypeVar("Task")
Question = TypeVar("Question")
Answer = TypeVar("Answer")
Prepare = Callable[[Task], Callable[[Question], Answer]]

_PATIENCE_SECONDS = 5.0
_MEMORY_HINT = "Choose smaller `sizes` or `batch_sizes`."
# What a machine, a driver or a package of others may do to a row, while the others go on.
# Everything else is a mistake of ours, and keeps its traceback. torch.OutOfMemoryError is a
# RuntimeError.
_FAILURES = (LunetError, RuntimeError, MemoryError, ImportError, OSError)


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
        context = process_context({signal.SIGINT})
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
        cause = f"with exit code {code}"
        # multiprocessing gives the signal that ended a process as a negative number.
        if code is not None and code < 0:
            cause = f"by {signal.Signals(-code).name}"
        return LunetError(f"{self._name}: the process ended {cause}")


def _serve(
    pipe: Connection, prepare: Prepare[Task, Question, Answer], task: Task, num_threads: int
) -> None:
    """Answer until the pipe is closed."""
    # Ctrl-C reaches the parent too, which ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Whatever libraries print, standard output is for results.
    os.dup2(2, 1)
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
    except _FAILURES as error:
        pipe.send((_as_lunet_error(error), None))


def _as_lunet_error(error: Exception) -> LunetError:
    if isinstance(error, LunetError):
        return error
    reason, *_ = str(error).strip().splitlines() or ["no reason given"]
    message = f"{type(error).__name__}: {reason}"
    # On a CPU, torch's allocator raises a plain RuntimeError, with these words.
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in reason:
        return LunetError(message, _MEMORY_HINT)
    return LunetError(message)
