"""The lock of a run folder, between processes and within one."""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import signal
import subprocess
import sys
from pathlib import Path

import filelock
import pytest

from lunet_cli.engine.run_lock import LOCK, hold_run
from lunet_cli.errors import OutputError
from lunet_cli.results.events import Event, WarningIssued

HOLDER = """
import sys, time
from pathlib import Path
from lunet_cli.engine.run_lock import hold_run
with hold_run(Path(sys.argv[1]), print):
    def wait():
        print("held", flush=True)
        time.sleep(60)
    if len(sys.argv) > 2:  # a worker, as those that prepare batches; it speaks, once it runs
        import multiprocessing
        multiprocessing.get_context("fork").Process(target=wait, daemon=True).start()
        time.sleep(60)
    wait()
"""


def ignore(event: Event) -> None:
    pass


def start_holder(folder: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HOLDER, str(folder), *more]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, encoding="utf-8", start_new_session=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


@pytest.mark.parametrize("worker", [(), ("worker",)], ids=["alone", "with a worker"])
def test_a_second_process_is_told_who_holds_it_and_gets_it_once_that_is_killed(
    tmp_path: Path, worker: tuple[str, ...]
) -> None:
    process = start_holder(tmp_path / "run", *worker)
    try:
        with (
            pytest.raises(OutputError, match="is being trained already") as caught,
            hold_run(tmp_path / "run", ignore),
        ):
            pass
        assert f"by process {process.pid} on {platform.node()} since 2" in caught.value.message
        process.send_signal(signal.SIGKILL)
        process.wait()
        with hold_run(tmp_path / "run", ignore) as lock:
            assert lock.is_kept
            assert f"process {os.getpid()} " in (tmp_path / "run" / LOCK).read_text()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # the worker
        process.communicate()


def test_it_excludes_within_a_process_too(tmp_path: Path) -> None:
    with (
        hold_run(tmp_path, ignore),
        pytest.raises(OutputError, match="is being trained"),
        hold_run(tmp_path, ignore),
    ):
        pass
    with hold_run(tmp_path, ignore):
        pass


def test_nothing_is_left_where_nothing_was_written(tmp_path: Path) -> None:
    with hold_run(tmp_path / "a" / "b", ignore):
        assert (tmp_path / "a" / "b" / LOCK).exists()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "c").mkdir()
    with hold_run(tmp_path / "c" / "d", ignore):
        (tmp_path / "c" / "d" / "file").touch()
    assert [path.name for path in (tmp_path / "c" / "d").iterdir()] == ["file"]
    with hold_run(tmp_path / "e" / "f", ignore):
        (tmp_path / "e" / "other").touch()
    assert [path.name for path in (tmp_path / "e").iterdir()] == ["other"]


@pytest.mark.parametrize("what", ["lock", "folder"])
def test_a_lock_that_is_taken_away_is_noticed_and_that_of_another_is_left_alone(
    tmp_path: Path, what: str
) -> None:
    folder = tmp_path / "run"
    with hold_run(folder, ignore) as lock:
        lock.require_kept()
        (folder / LOCK).unlink()
        if what == "folder":
            folder.rmdir()
        with pytest.raises(
            OutputError, match="removed or replaced" if what == "lock" else "removed or renamed"
        ):
            lock.require_kept()
        with hold_run(folder, ignore) as second:
            with pytest.raises(OutputError, match="removed or replaced"):
                lock.require_kept()
            second.require_kept()
            (folder / "file").touch()
    assert [path.name for path in folder.iterdir()] == ["file"]


@pytest.mark.parametrize(
    "content", ["", "\x1b[2Jprocess 7", "process 7\nprocess 8", "[" * 100_000, "\0"], ids=repr
)
def test_odd_content_of_the_lock_is_not_told(tmp_path: Path, content: str) -> None:
    with hold_run(tmp_path, ignore):
        (tmp_path / LOCK).write_text(content)
        with pytest.raises(OutputError) as caught, hold_run(tmp_path, ignore):
            pass
    assert caught.value.message == f"{tmp_path}: is being trained already, by another process"


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_said(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: object, *_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    events: list[Event] = []
    with hold_run(tmp_path, events.append) as lock:
        lock.require_kept()
    (event,) = events
    assert isinstance(event, WarningIssued)
    assert "has no locks" in event.text


def test_a_folder_in_place_of_the_lock_is_one_error(tmp_path: Path) -> None:
    (tmp_path / LOCK).mkdir()
    with pytest.raises(OutputError, match="cannot be made or locked"), hold_run(tmp_path, ignore):
        pass
    assert (tmp_path / LOCK).is_dir()


def test_a_link_in_place_of_the_lock_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("content")
    (tmp_path / LOCK).symlink_to("precious")
    with pytest.raises(OutputError, match="cannot be made or locked"), hold_run(tmp_path, ignore):
        pass
    assert (tmp_path / "precious").read_text() == "content"
