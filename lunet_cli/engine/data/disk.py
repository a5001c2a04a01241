"""Files and folders of strangers: whether they can be opened at all, and what a folder holds."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

from lunet_cli.errors import DataError

_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}


def is_folder(path: Path) -> bool:
    """Whether there is a folder; False too where the question itself fails."""
    return stat.S_ISDIR(_mode(path))


def is_file(path: Path) -> bool:
    """Whether there is a regular file; False too where the question itself fails."""
    return stat.S_ISREG(_mode(path))


def require_present(path: Path) -> None:
    """Raise if there is neither a file nor a folder.

    Raises:
        DataError: There is nothing, a link without an end, or nothing that can be looked at.
    """
    _status(path)


def require_file(path: Path) -> None:
    """Raise if there is no regular file.

    A pipe would keep a reader waiting for ever, and a device has no end.

    Raises:
        DataError: It is missing, or something else.
    """
    status = _status(path)
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "something else")
        raise DataError(f"{path}: is {kind}, not a file", hint="Name the file of a volume.")


def open_file(path: Path) -> BinaryIO:
    """Open a regular file.

    Raises:
        DataError: It is missing, is not a regular file, or cannot be read.
    """
    require_file(path)
    try:
        return path.open("rb")
    except OSError as error:
        raise _refusal(path, "read", error) from None


def list_folder(folder: Path) -> list[Path]:
    """What lies directly in a folder, sorted by name; hidden entries left out.

    Raises:
        DataError: The folder cannot be listed.
    """
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise _refusal(folder, "listed", error) from None


def reason_of(error: OSError) -> str:
    """What the operating system says, with a small letter at its start."""
    text = error.strerror or str(error)
    return text[:1].lower() + text[1:]


def _status(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except FileNotFoundError:
        what = "there is no such file or folder"
        if path.is_symlink():
            what = f"is a link to {os.readlink(path)}, and {what}"
        raise DataError(f"{path}: {what}") from None
    except OSError as error:
        raise _refusal(path, "read", error) from None
    except ValueError as error:  # A zero byte in a name.
        raise DataError(f"{path}: cannot be read: {error}") from None


def _mode(path: Path) -> int:
    """Kind and rights of what lies there; 0, which is of no kind, where the question fails."""
    # Before Python 3.14, `Path.is_dir` and `Path.is_file` raise where a folder may not be entered.
    try:
        return path.stat().st_mode
    except (OSError, ValueError):
        return 0


def _refusal(path: Path, done: str, error: OSError) -> DataError:
    hint = ""
    if error.errno in (errno.EACCES, errno.EPERM):
        hint = "Ask its owner for the right to read it, or copy it."
    return DataError(f"{path}: cannot be {done}: {reason_of(error)}", hint=hint)
