"""What can become of a job beside a result, as kinds of error that a door can tell apart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lunet_cli.errors import DataError, LunetError


class TooLargeError(DataError):
    """A scan or upload is beyond a limit."""


class UnknownFormatError(DataError):
    """An upload is nothing that can be read here."""


class NotFoundError(LunetError):
    """There is no such model or job."""


class QueueFullError(LunetError):
    """So many jobs wait that another one is not taken.

    Args:
        message: See `LunetError`.
        hint: See `LunetError`.
        seconds: When to try again.
    """

    def __init__(self, message: str, hint: str = "", *, seconds: int = 1) -> None:
        super().__init__(message, hint)
        self.seconds = seconds


class EndingError(LunetError):
    """The service ends and takes or finishes no more jobs."""


class OutOfTimeError(LunetError):
    """A job took longer than it may."""


class CancelledError(LunetError):
    """Who has sent a job does not want it any more."""


class NoRoomError(LunetError):
    """The disk of the service is full."""


class StopJob(Exception):
    """Ends the job that is worked on, at its next window; no error of its volume.

    Args:
        reason: Why.
    """

    def __init__(self, reason: LunetError) -> None:
        super().__init__(reason.message)
        self.reason = reason


def unexpected(error: Exception) -> LunetError:
    """An error that nobody has foreseen, in one line with its true cause."""
    lines = str(error).strip().splitlines() or ["without a word"]
    return LunetError(
        f"something went wrong inside: {type(error).__name__}: {lines[0][:300]}",
        hint="Please report it, with the version of lunet.",
    )


def as_sent(text: str, paths: Sequence[Path], name: str) -> str:
    """A message in which the only file of a scan is called as its sender calls it."""
    if len(paths) == 1 and paths[0].is_file():
        text = text.replace(str(paths[0]), name)
    return text


def without_folder(text: str, folder: Path) -> str:
    """A message without the private folder of the service, which is nobody's business."""
    return text.replace(f"{folder}/", "").replace(str(folder), "the upload")
