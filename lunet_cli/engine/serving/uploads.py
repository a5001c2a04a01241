"""What somebody has sent, as files under names of our own; the content says what each one is."""

from __future__ import annotations

import shutil
import stat
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from lunet_cli.engine.data.dicom_planes import is_dicom
from lunet_cli.engine.data.stored_bytes import read_head, read_start
from lunet_cli.engine.serving.problems import TooLargeError, UnknownFormatError
from lunet_cli.errors import DataError, LunetError
from lunet_cli.results.words import plural, visible

# What a scan is called here, whatever its sender calls it.
SCAN = "scan"
_ZIP = b"PK\x03\x04"
_HEAD = 348
# A file for each slice of a long series; more would only keep the processor busy.
_MOST_FILES = 20_000
_CHUNK = 2**20
_LONGEST_NAME = 100
_READABLE = "Send NIfTI, NRRD, MetaImage in one file, or DICOM; several DICOM files as a zip."


@dataclass(frozen=True)
class Upload:
    """A file that has arrived.

    Args:
        path: Where it lies, under a name of our own.
        name: What its sender calls it; never a path.
    """

    path: Path
    name: str


def called(name: str | None) -> str:
    """What a sender calls a file, as one harmless word for messages."""
    plain = visible((name or "").replace("\\", "/").rsplit("/", 1)[-1])[:_LONGEST_NAME]
    return plain or "the upload"


@dataclass
class _Room:
    """Bytes that may still be unpacked."""

    left: int

    def take(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise TooLargeError(
                "the upload: holds more than a volume may have when it is unpacked",
                hint="Send one series, or ask who runs the service for a higher `max_voxels`.",
            )


def arrange(uploads: Sequence[Upload], folder: Path, *, most_bytes: int) -> list[Path]:
    """Bring uploads into a folder so that volumes can be found there.

    Volumes become the channels `scan_0000.nii.gz`, ... in the order of their names, or
    `scan.nii.gz` where there is one; DICOM files become one folder `scan`.

    Args:
        uploads: What has arrived; zip files are unpacked.
        folder: An empty folder.
        most_bytes: What zip files may hold.

    Returns:
        What to segment.

    Raises:
        TooLargeError: A zip file holds more.
        UnknownFormatError: Nothing can be read.
        DataError: A zip file is damaged.
    """
    found = _Found(folder, _Room(most_bytes))
    for upload in sorted(uploads, key=lambda one: one.name):
        found.add(upload)
    return found.arranged(uploads)


class _Found:
    """Files by what they hold."""

    def __init__(self, folder: Path, room: _Room) -> None:
        self._folder, self._room = folder, room
        self._volumes: list[tuple[Path, str]] = []
        self._dicom: list[Path] = []
        self._count = 0

    def add(self, upload: Upload) -> None:
        """Take an upload, or what a zip file holds."""
        if read_start(upload.path, 4) == _ZIP:
            self._unpack(upload)
        else:
            self._sort(upload.path)

    def arranged(self, uploads: Sequence[Upload]) -> list[Path]:
        """All of them at their places."""
        if self._volumes and self._dicom:
            raise UnknownFormatError("the upload: holds volumes and DICOM files; send one of them")
        if self._dicom:
            return [self._series()]
        if not self._volumes:
            names = ", ".join(upload.name for upload in uploads[:3])
            raise UnknownFormatError(f"{names}: no volume is in it", hint=_READABLE)
        placed: list[Path] = []
        for index, (path, suffix) in enumerate(self._volumes):
            number = f"_{index:04d}" if len(self._volumes) > 1 else ""
            placed.append(path.rename(self._folder / f"{SCAN}{number}{suffix}"))
        return placed

    def _series(self) -> Path:
        folder = self._folder / SCAN
        folder.mkdir()
        for index, path in enumerate(self._dicom):
            path.rename(folder / f"{index:06d}.dcm")
        return folder

    def _sort(self, path: Path) -> None:
        suffix = _suffix_of(path)
        if suffix == ".dcm":
            self._dicom.append(path)
        elif suffix:
            self._volumes.append((path, suffix))

    def _unpack(self, upload: Upload) -> None:
        try:
            with zipfile.ZipFile(upload.path) as archive:
                members = [one for one in archive.infolist() if _is_plain(one)]
                if len(members) > _MOST_FILES:
                    held = plural(len(members), "file")
                    raise TooLargeError(f"{upload.name}: holds {held}, more than {_MOST_FILES:,}")
                # Before a byte of it is written: most bombs say how large they are.
                total = sum(member.file_size for member in members)
                _Room(self._room.left).take(total)
                for member in sorted(members, key=lambda one: one.filename):
                    self._sort(self._unpacked(archive, member))
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            raise _damaged_archive(upload, error) from None
        except (RuntimeError, ValueError, OverflowError) as error:  # Encrypted, or a false offset.
            raise _damaged_archive(upload, error) from None

    def _unpacked(self, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Path:
        path = self._folder / f"part{self._count}"
        self._count += 1
        with archive.open(member) as packed, path.open("xb") as file:
            _copy(packed, file, self._room)  # type: ignore[arg-type]  # reads as a BinaryIO
        return path


def _copy(packed: BinaryIO, file: BinaryIO, room: _Room) -> None:
    # Counted, since a member may hold more than it says.
    while chunk := packed.read(_CHUNK):
        room.take(len(chunk))
        file.write(chunk)


def _is_plain(member: zipfile.ZipInfo) -> bool:
    mode = member.external_attr >> 16
    return not member.is_dir() and (mode == 0 or stat.S_IFMT(mode) in (0, stat.S_IFREG))


def _damaged_archive(upload: Upload, error: Exception) -> LunetError:
    reason = (str(error).splitlines() or ["it ends early"])[0]
    return DataError(
        f"{upload.name}: cannot be unpacked ({visible(reason[:200])})",
        hint="Send a zip file without a password.",
    )


def _suffix_of(path: Path) -> str:
    """The ending under which a file is read, by its content; empty if it is no volume."""
    start = read_start(path, _HEAD)
    if start[:4] == b"NRRD":
        return ".nrrd"
    if start[:2] == b"\x1f\x8b":
        return ".nii.gz" if _is_nifti(_unpacked_head(path)) else ""
    if _is_nifti(start):
        return ".nii"
    text = start[:64].lstrip()
    if text.startswith((b"ObjectType", b"NDims", b"Comment")):
        return ".mha"
    return ".dcm" if is_dicom(path) else ""


def _unpacked_head(path: Path) -> bytes:
    try:
        return read_head(path, _HEAD)[0]
    except DataError:  # What is damaged from the start cannot be told apart.
        return b""


def _is_nifti(head: bytes) -> bool:
    return head[4:8] == b"n+2\0" or head[344:348] == b"n+1\0"


def remove(folder: Path) -> None:
    """Remove what belongs to a job."""
    shutil.rmtree(folder, ignore_errors=True)
