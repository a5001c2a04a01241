"""Writing files so that no moment of a crash leaves a broken one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from lunet_cli.errors import OutputError


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Let `write` fill a temporary file beside `path`, bring it to disk, and rename it.

    Raises:
        OutputError: The folder is not writable or the disk is full; `path` is left as it was.
    """
    temporary: Path | None = None
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = Path(file.name)
            write(file)  # type: ignore[arg-type]  # the wrapper of tempfile is a BinaryIO in all but name
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        os.replace(temporary, path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def require_place(path: Path) -> None:
    """Raise if no file could be written there; for outputs whose making takes a while.

    Raises:
        OutputError: There is no such folder, or a folder is in the way.
    """
    if path.is_dir():
        raise OutputError(f"{path}: is a folder", hint="Name a file.")
    if not path.parent.is_dir():
        raise OutputError(f"{path}: there is no folder {path.parent}")
