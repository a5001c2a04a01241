"""One run folder, one writer: a lock that the system takes back when its process dies."""

from __future__ import annotations

import contextlib
import datetime
import errno
import os
import platform
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from lunet_cli.errors import OutputError
from lunet_cli.results.events import Event, WarningIssued

LOCK = ".lock"
_HAS_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)
# A host name has at most 64 characters; what is longer was not written by us.
_LONGEST_HOLDER = 200
# A worker that was forked a moment before its parent was killed holds the lock until its first
# instruction closes it.
_PATIENCE_SECONDS = 0.5


class RunHeldError(OutputError):
    """Another process holds a run folder."""


class RunLock:
    """The right to write into a run folder, as `hold_run` gives it.

    Args:
        folder: The run folder.
        identity: Device and inode of the lock file; None where the file system has no locks.
    """

    def __init__(self, folder: Path, identity: tuple[int, int] | None) -> None:
        self._folder = folder
        self._identity = identity

    @property
    def is_kept(self) -> bool:
        """Whether the folder and its lock are still those that were taken."""
        return self._identity is None or _identity(self._folder / LOCK) == self._identity

    def require_kept(self) -> None:
        """Raise if somebody has removed the folder or its lock.

        Raises:
            OutputError: It is so, and another process may write there.
        """
        if self.is_kept:
            return
        if not self._folder.is_dir():
            raise OutputError(
                f"{self._folder}: was removed or renamed while the training wrote there"
            )
        raise OutputError(
            f"{self._folder / LOCK}: was removed or replaced while the training wrote there, "
            "so that another one may write there too",
            hint="Make sure that none does, then go on with `resume=auto`.",
        )


@contextlib.contextmanager
def hold_run(
    folder: Path,
    on_event: Callable[[Event], None],
    *,
    go_on: str = "go on with `resume=auto`",
) -> Iterator[RunLock]:
    """Hold a run folder for this process; makes it, and removes it again if it stays empty.

    The lock is `flock`, which the Linux kernel turns into a byte-range lock of the server on NFS,
    so that it holds between machines. Workers forked by this process do not keep it.

    Args:
        folder: The run folder.
        on_event: Called with a warning where the file system has no locks.
        go_on: How to go on once nobody holds it, for the message of an error.

    Raises:
        RunHeldError: Another process holds it.
        OutputError: It cannot be made.

    References:
        https://man7.org/linux/man-pages/man2/flock.2.html, "NFS details".
    """
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    lock = FileLock(
        folder / LOCK, timeout=_PATIENCE_SECONDS, fallback_to_soft=False, on_acquired=_sign
    )
    try:
        held = RunLock(folder, _acquire(lock, folder, on_event, go_on))
        try:
            yield held
        finally:
            if held.is_kept:
                # Removed while it is held, so that nobody takes a file that is about to go.
                (folder / LOCK).unlink(missing_ok=True)
            lock.release()
    finally:
        with contextlib.suppress(OSError):  # What is not empty, stays.
            for place in made:
                place.rmdir()


def holder_of(folder: Path) -> str | None:
    """Who writes into a run folder at this moment, in words; None where nobody is known to."""
    if not (folder / LOCK).exists():
        return None
    lock = FileLock(folder / LOCK, timeout=0, fallback_to_soft=False)
    try:
        with lock:
            return None
    except Timeout:
        return _holder(folder)
    except OSError:  # Neither can this be locked by us, nor is it known that others do.
        return None


def _acquire(
    lock: FileLock, folder: Path, on_event: Callable[[Event], None], go_on: str
) -> tuple[int, int] | None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise RunHeldError(
            f"{folder}: is being trained already, by {_holder(folder)}",
            hint=f"Wait for it or stop it, then {go_on}; or choose another `experiment.name`.",
        ) from None
    except OSError as error:
        if error.errno in _HAS_NO_LOCKS:
            text = f"{folder}: its file system has no locks; let no second training write there"
            on_event(WarningIssued(text))
            return None
        raise OutputError(
            f"{folder}: cannot be made or locked ({error.strerror or error})",
            hint="Choose another place: `experiment.output_dir`.",
        ) from None
    return _identity(folder / LOCK)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _sign(descriptor: int) -> None:
    """Write who holds the lock into its file."""
    since = datetime.datetime.now().astimezone().isoformat(" ", timespec="seconds")
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"process {os.getpid()} on {platform.node()} since {since}\n".encode())


def _holder(folder: Path) -> str:
    """Who holds the lock, in words; Windows lets nobody read a file that is locked."""
    try:
        with (folder / LOCK).open(encoding="utf-8", errors="replace") as file:
            text = file.read(_LONGEST_HOLDER).strip()
    except OSError:
        text = ""
    # Anybody may have written into the file, and the text goes into a message.
    if text.startswith("process ") and text.isprintable():
        return text
    return "another process"
