"""What files hold, as a digest; a file that is known is not read again."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lunet_cli.engine.data.cases import Case
from lunet_cli.engine.data.disk import reason_of
from lunet_cli.errors import DataError, OutputError
from lunet_cli.records.files import write_atomically

CONTENTS = "contents"
"""Folder of a cache for the digests of files."""
Stamp = tuple[str, int, int, int, int]  # path, size, mtime_ns, ctime_ns, inode
_WITH_OTHERS = (".mhd", ".nhdr", ".hdr", ".img")  # Their voxels may lie in other files.
_LONGEST_HEADER = 1 << 16
# A file may change twice within one tick of the clock of its file system.
_SETTLED_S = 3.0


@dataclass(frozen=True)
class Content:
    """What the files of a case hold.

    Args:
        digest: SHA-256 of all bytes, in the order of the files.
        stamps: What the file system said of each file before it was read.
    """

    digest: str
    stamps: tuple[Stamp, ...]

    def is_current(self) -> bool:
        """Whether the file system still says the same of each file."""
        try:
            return all(_stamp(Path(stamp[0])) == stamp for stamp in self.stamps)
        except OSError:
            return False


def content_of(case: Case, known: Path) -> Content:
    """The content of a case's files.

    Args:
        case: The case.
        known: Folder that remembers the digest of each file, if there is one. It is believed while
            size, inode and both times are the same: that of the inode cannot be set by hand.

    Raises:
        DataError: A file cannot be read.
    """
    total, stamps = hashlib.sha256(), []
    if case.label is None:  # A phantom: the name is all that there is.
        total.update(case.case_id.encode())
    for path in (*case.images, *([case.label] if case.label else []), *case.maps):
        total.update(f"\n{path.suffix}".encode())
        try:
            for file in _files_of(path):
                stamp = _stamp(file)
                stamps.append(stamp)
                total.update(_digest(file, stamp, known).encode())
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {reason_of(error)}") from None
    return Content(total.hexdigest(), tuple(stamps))


def _files_of(path: Path) -> Sequence[Path]:
    """The files that a volume may be read from."""
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.is_file())
    if path.suffix.lower() not in _WITH_OTHERS:
        return [path]
    return [path, *sorted(_named_by(path))]


def _named_by(header: Path) -> Iterator[Path]:
    with header.open("rb") as stream:
        text = stream.read(_LONGEST_HEADER).decode("latin-1")
    lists = "%" in text or "LIST" in text  # Many files, told by a pattern or one by one.
    for file in header.parent.iterdir():
        is_near = file.stem.split(".")[0] == header.stem or file.name in text
        if file != header and file.is_file() and (lists or is_near):
            yield file
    for line in text.splitlines():
        name = line.replace("=", ":").rpartition(":")[2].strip()
        if "/" in name and (header.parent / name).is_file():  # Voxels in another folder.
            yield header.parent / name


def _stamp(path: Path) -> Stamp:
    status = path.stat()
    return (
        str(path.absolute()),
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
        status.st_ino,
    )


def _digest(path: Path, stamp: Stamp, known: Path) -> str:
    note = known / f"{hashlib.sha256(stamp[0].encode()).hexdigest()[:32]}.json"
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        noted = json.loads(note.read_text(encoding="utf-8"))
        if noted["stamp"] == list(stamp):
            return str(noted["sha256"])
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    is_settled = time.time() - max(stamp[2:4]) / 1e9 > _SETTLED_S
    if is_settled and known.is_dir() and _stamp(path) == stamp:
        with contextlib.suppress(OSError, OutputError):  # It is only read again the next time.
            text = json.dumps({"stamp": stamp, "sha256": digest}).encode()
            write_atomically(note, lambda stream: stream.write(text))
    return digest
