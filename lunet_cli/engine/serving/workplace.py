"""The private folder in which uploads and results lie, and what dead processes have left there."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from lunet_cli.errors import OutputError

_START, _ALIVE = "start.lock", "alive.lock"
_OURS = "process-"
_START_SECONDS = 30.0


@contextlib.contextmanager
def workplace(parent: Path | None) -> Iterator[Path]:
    """A folder of this process alone, which is gone when the block ends.

    What processes that were killed have left beside it is removed first: each one holds a lock in
    its folder, which the system takes back when it dies.

    Args:
        parent: Where it is made; None takes a folder of this user in the temporary folder.

    Raises:
        OutputError: The folder cannot be made, is somebody else's, or others may write there.
    """
    if parent is None:
        parent = Path(tempfile.gettempdir()) / f"lunet-serve-{_user()}"
    try:
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _require_private(parent)
        # One after the other: a folder that was made a moment ago is not locked yet.
        with FileLock(parent / _START, timeout=_START_SECONDS, fallback_to_soft=False):
            _remove_left(parent)
            folder = Path(tempfile.mkdtemp(prefix=_OURS, dir=parent))
            alive = FileLock(folder / _ALIVE, timeout=0, fallback_to_soft=False)
            alive.acquire()
    except (OSError, Timeout) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise OutputError(
            f"{parent}: cannot be used for uploads ({reason or error})",
            hint="Choose another folder: `work_dir`.",
        ) from None
    try:
        yield folder
    finally:
        alive.release()
        shutil.rmtree(folder, ignore_errors=True)


def _user() -> str:
    if hasattr(os, "getuid"):
        return str(os.getuid())
    return os.environ.get("USERNAME", "user")


def _require_private(parent: Path) -> None:
    """Raise if somebody else could read, replace or take away what is put there."""
    status = parent.lstat()
    if not stat.S_ISDIR(status.st_mode):
        raise OutputError(f"{parent}: is not a folder", hint="Choose another one: `work_dir`.")
    if not hasattr(os, "getuid"):  # Windows, whose temporary folder is the user's own.
        return
    if status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise OutputError(
            f"{parent}: is not yours alone, and uploads are nobody else's business",
            hint="Choose a folder that nobody else may write to: `work_dir`.",
        )


def _remove_left(parent: Path) -> None:
    for folder in parent.glob(f"{_OURS}*"):
        alive = FileLock(folder / _ALIVE, timeout=0, fallback_to_soft=False)
        with contextlib.suppress(Timeout, OSError), alive:
            shutil.rmtree(folder, ignore_errors=True)
