from __future__ import annotations

import importlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from lunet_cli.engine.benchmarking.workers import Worker
from lunet_cli.errors import DataError, LunetError

# A worker imports what it runs by name, and test modules have none that it could find.
TASKS = """
import os, signal, torch
from lunet_cli.errors import DataError

def prepare(task):
    if task == "unprepared":
        raise RuntimeError("no such thing\\nand more")
    if task == "mistaken":
        raise TypeError("a mistake of ours")
    def answer(question):
        if task == "lunet":
            raise DataError("the volume is empty", hint="Fill it.")
        if task == "memory":
            raise torch.OutOfMemoryError("CUDA out of memory")
        if task == "allocator":
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried too much")
        if task == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if task == "leaves":
            os._exit(3)
        print("noise", flush=True)
        return question + 1, torch.get_num_threads(), os.getpid()
    return answer
"""


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    (tmp_path / "tasks_of_workers.py").write_text(TASKS)
    monkeypatch.syspath_prepend(tmp_path)
    return importlib.import_module("tasks_of_workers")


def ask(tasks: ModuleType, task: str) -> object:
    with Worker(f"row {task}", tasks.prepare, task, num_threads=1) as worker:
        return worker.ask(1)


def test_answers_come_from_a_process_of_its_own(tasks, capfd: pytest.CaptureFixture[str]) -> None:
    with Worker("row", tasks.prepare, "adds", num_threads=1) as worker:
        number, num_threads, pid = worker.ask(41)
        assert (number, num_threads) == (42, 1)
        assert worker.ask(1)[0] == 2
    assert pid != os.getpid()
    assert capfd.readouterr().out == "", "a worker wrote to standard output, which is for results"
    assert has_ended(pid)


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("unprepared", "row unprepared: RuntimeError: no such thing"),
        ("lunet", "row lunet: the volume is empty"),
        ("memory", "row memory: OutOfMemoryError: CUDA out of memory"),
        ("killed", "row killed: the process was killed, probably for want of memory"),
        ("leaves", "row leaves: the process ended with exit code 3"),
    ],
)
def test_failure_is_one_line_with_the_row_and_its_cause(tasks, task: str, message: str) -> None:
    with pytest.raises(LunetError) as caught:
        ask(tasks, task)
    assert caught.value.message == message


def test_mistake_of_ours_is_not_told_as_one_of_the_row(tasks) -> None:
    """It ends the process, which prints its traceback, as every Python does."""
    with pytest.raises(LunetError, match="row mistaken: the process ended with exit code 1"):
        ask(tasks, "mistaken")


@pytest.mark.parametrize("task", ["memory", "allocator"])
def test_want_of_memory_has_a_hint(tasks, task: str) -> None:
    with pytest.raises(LunetError) as caught:
        ask(tasks, task)
    assert caught.value.hint == "Choose smaller `sizes` or `batch_sizes`."


def test_kind_and_hint_of_an_error_survive(tasks) -> None:
    with pytest.raises(DataError) as caught:
        ask(tasks, "lunet")
    assert caught.value.hint == "Fill it."


def test_workers_end_when_the_parent_is_interrupted(tasks) -> None:
    pids = []

    def work() -> None:
        with (
            Worker("one", tasks.prepare, "adds", num_threads=1) as one,
            Worker("two", tasks.prepare, "adds", num_threads=1) as two,
        ):
            pids.extend(worker.ask(0)[2] for worker in (one, two))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert len(pids) == 2
    assert all(map(has_ended, pids))


def has_ended(pid: int, wait: Callable[[float], None] = time.sleep) -> bool:
    """Whether a process is gone; the server that forked it may need a moment to notice."""
    for _ in range(50):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        wait(0.1)
    return False
