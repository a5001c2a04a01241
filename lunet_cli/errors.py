"""The few kinds of error that lunet raises on purpose; only `cli.app` catches them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Self

EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
# 128 and the number of SIGPIPE, as shells report it of any program.
EXIT_BROKEN_PIPE = 141


class LunetError(Exception):
    """Something a user can mend: one line that says what and where, and a hint that says how.

    Args:
        message: What was wrong, the value, and where it stands; of several mistakes, one text each.
            A line break in a text is part of a name and is not shown as one.
        hint: What to do about it; may be empty.
    """

    exit_code = EXIT_FAILURE

    def __init__(self, message: str | Sequence[str], hint: str = "") -> None:
        if isinstance(message, str):
            message = [message]
        # Of "unknown. Did you mean ...?", there may be no second sentence.
        self.lines = tuple(map(str.rstrip, message))
        self.message = "\n".join(self.lines)
        super().__init__(self.message)
        self.hint = hint

    def reworded(self, reword: Callable[[str], str]) -> Self:
        """The same error in other words.

        Args:
            reword: Applied to each line and to the hint.
        """
        return type(self)([reword(line) for line in self.lines], reword(self.hint))

    def __reduce__(self) -> tuple[type[LunetError], tuple[tuple[str, ...], str]]:
        """Keep lines and hint apart when a worker process sends the error home."""
        return type(self), (self.lines, self.hint)


class ConfigError(LunetError):
    """The configuration, a preset name or a combination of options cannot work."""

    exit_code = EXIT_USAGE


class DataError(LunetError):
    """An image, label or data folder is missing, damaged or inconsistent."""


class CheckpointError(LunetError):
    """A checkpoint file cannot be read or does not fit what was asked."""


class OutputError(LunetError):
    """A run folder or file is in the way or cannot be written, or there is no state to resume."""


class ExportError(LunetError):
    """An exported file does not compute what the network computes."""


class DeviceError(LunetError):
    """The requested device or precision is not available on this machine."""


class TrainingError(LunetError):
    """Training cannot go on, for instance because the loss is no longer finite."""


class MissingDependencyError(LunetError):
    """An optional package is needed; the hint names the extra that installs it."""
