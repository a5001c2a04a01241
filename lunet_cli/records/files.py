"""Reading whole files within bounds, and writing them so that a crash leaves no broken one."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from lunet_cli.errors import DataError, LunetError, OutputError

# The manifest of 100,000 cases takes 5 MB. What is larger was not written by us.
MOST_BYTES = 32 << 20


def require_file(
    path: Path, *, what: str = "file", error: type[LunetError] = DataError, hint: str = ""
) -> None:
    """Raise if a path is not an ordinary file: opening a pipe would wait for ever.

    Raises:
        LunetError: Of the kind `error`.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise error(f"{path}: there is no such {what}", hint=hint) from None
    except (OSError, ValueError) as reason:  # A name may be too long, or hold a null character.
        raise error(f"{path}: cannot be read ({_words(reason)})", hint=hint) from None
    if stat.S_ISDIR(mode):
        raise error(f"{path}: is a folder, not a {what}", hint=hint)
    if not stat.S_ISREG(mode):
        raise error(f"{path}: is a pipe or device, not a {what}", hint=hint)


def require_makeable(folder: Path) -> None:
    """Raise if a run folder cannot be made or written to; makes nothing.

    Raises:
        OutputError: It cannot.
    """
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        raise OutputError(f"{folder}: cannot be made, since {place} is a file")
    if not os.access(place, os.W_OK | os.X_OK):
        raise OutputError(
            f"{folder}: cannot be made or written, since {place} is not writable for you",
            hint="Choose another place: `experiment.output_dir=FOLDER`",
        )


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, by which a copy is known again whatever its name and time."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_bytes(path: Path, *, error: type[LunetError] = DataError, hint: str = "") -> bytes:
    """The content of a file of at most `MOST_BYTES`.

    Raises:
        LunetError: Of the kind `error`: the file is missing, larger, or cannot be read.
    """
    require_file(path, error=error, hint=hint)
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as reason:
        raise error(f"{path}: cannot be read ({_words(reason)})", hint=hint) from None
    if len(content) > MOST_BYTES:
        limit = f"the {MOST_BYTES >> 20} MiB that such a file has at most"
        raise error(f"{path}: is larger than {limit}", hint=hint)
    return content


def read_text(path: Path) -> str:
    """The text in a file of at most `MOST_BYTES`.

    Raises:
        DataError: The file is missing, larger, or is not text.
    """
    try:
        text = read_bytes(path).decode()
    except UnicodeDecodeError as reason:
        raise DataError(f"{path}: is not UTF-8 text (byte {reason.start})") from None
    if "\0" in text:
        raise DataError(f"{path}: is not text (it holds null characters)")
    return text


def require_stored_archive(path: Path, *, what: str, error: type[LunetError]) -> None:
    """Raise if a zip archive is larger inside than outside; anything else passes.

    PyTorch writes tensors as they are. In a packed archive, a few bytes become as many gigabytes as
    they say.

    Raises:
        LunetError: Of the kind `error`.
    """
    try:
        if not zipfile.is_zipfile(path):
            return
        with zipfile.ZipFile(path) as archive:
            size = sum(part.file_size for part in archive.infolist())
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError) as reason:
        raise error(f"{path}: is damaged or not a {what} ({reason})") from None
    if size > path.stat().st_size:
        raise error(f"{path}: is not a {what} (its parts are packed, or lie upon each other)")


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Let `write` fill a temporary file beside `path`, bring it to disk, and rename it.

    Raises:
        OutputError: The folder is not writable or the disk is full; `path` is left as it was.
    """
    temporary: Path | None = None
    try:
        with tempfile.NamedTemporaryFile(
            dir=path.parent, prefix=f".{path.name}.", delete=False
        ) as file:
            temporary = Path(file.name)
            write(file)  # type: ignore[arg-type]  # the wrapper of tempfile is a BinaryIO in all but name
            file.flush()
            # Before the rename: else a crash may leave the new name with nothing behind it.
            os.fsync(file.fileno())
        # The temporary file is for its owner alone, and results are for colleagues too.
        temporary.chmod(0o644)
        os.replace(temporary, path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({_words(error)})") from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_new(path: Path, content: bytes) -> None:
    """Write a small file that is not there yet.

    Raises:
        OutputError: There is something of that name, or it cannot be written.
    """
    # To look first and write then would leave a moment in which another file can come.
    try:
        with path.open("xb") as file:
            file.write(content)
    except FileExistsError:
        raise OutputError(
            f"{path}: is there already, and is not overwritten", hint="Name another file."
        ) from None
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({_words(error)})") from None


def require_place(path: Path) -> None:
    """Raise if no file could be written there; for outputs whose making takes a while.

    Raises:
        OutputError: There is no such folder, or a folder is in the way.
    """
    if path.is_dir():
        raise OutputError(f"{path}: is a folder", hint="Name a file.")
    if not path.parent.is_dir():
        raise OutputError(f"{path}: there is no folder {path.parent}")


def _words(error: OSError | ValueError) -> str:
    return getattr(error, "strerror", None) or str(error)
