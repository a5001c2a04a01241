"""The standard streams, made ready for being closed, full, or read by nobody any more."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from typing import Any

from lunet_cli.errors import EXIT_BROKEN_PIPE, OutputError


class _Results(io.FileIO):
    """Standard output: what cannot be written ends the command, and is not tried again later."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            _open_nowhere(self.fileno())
            # The reader has what it wants, like `head`.
            if isinstance(error, BrokenPipeError):
                raise SystemExit(EXIT_BROKEN_PIPE) from None
            raise OutputError(
                f"standard output: cannot be written ({error.strerror or error})"
            ) from None


class _Remarks(io.FileIO):
    """Standard error: a job of hours does not end because nobody hears of its progress."""

    def write(self, data: Any) -> int:
        with contextlib.suppress(OSError):
            return super().write(data)
        return len(data)


def prepare_streams() -> None:
    """Give every standard stream a file, and let those that fail do so in our way.

    Raises:
        OutputError: Standard output is closed.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # A file that is opened next would take its number, and what is printed would end up
            # in it.
            _open_nowhere(descriptor)
    is_closed = sys.stdout is None
    if sys.stdin is None:
        sys.stdin = io.TextIOWrapper(io.FileIO(0, closefd=False), encoding="utf-8")
    sys.stdout, sys.stderr = _prepared(sys.stdout, 1, _Results), _prepared(sys.stderr, 2, _Remarks)
    if is_closed:
        raise OutputError(
            "standard output: is closed", hint="Send it to a file: > FILE, or away: > /dev/null"
        )


def _prepared(stream: Any, descriptor: int, kind: type[io.FileIO]) -> Any:
    """The stream over a file of the given kind; one without a file, as in tests, stays as it is."""
    buffer = getattr(stream, "buffer", None)
    # Without a buffer, as with `python -u`, the file comes directly.
    raw = getattr(buffer, "raw", buffer)
    is_plain = stream is None or type(raw) is io.FileIO
    # Consoles of Windows write characters, not bytes.
    if sys.platform == "win32" or not is_plain:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
        return stream
    encoding, is_by_lines = "utf-8", False
    if stream is not None:
        encoding, is_by_lines = stream.encoding, stream.line_buffering or stream.write_through
    file = io.BufferedWriter(kind(descriptor, "w", closefd=False))
    # What an old terminal has no character for, it shows as `?`.
    return io.TextIOWrapper(file, encoding=encoding, errors="replace", line_buffering=is_by_lines)


def _open_nowhere(descriptor: int) -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    if nowhere != descriptor:
        os.dup2(nowhere, descriptor)
        os.close(nowhere)
