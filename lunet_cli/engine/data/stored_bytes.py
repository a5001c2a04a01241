"""The bytes of voxels on disk, as they are or compressed, and never more than expected."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import numpy.typing as npt

from lunet_cli.engine.data.disk import open_file, reason_of
from lunet_cli.engine.data.volume_file import damaged
from lunet_cli.errors import DataError

Packing = Literal["raw", "gzip"]
# Pieces that are read and unpacked at once: large enough that calls take no time, small beside any
# volume.
_CHUNK, _UNPACKED_CHUNK = 2**18, 2**22
_GZIP_OR_ZLIB = 47  # for zlib: either header is recognised, and the checksum behind it is compared
_GZIP_MAGIC = b"\x1f\x8b"
# Deflate packs at most 1,032 bytes into one (https://zlib.net/zlib_tech.html).
_LARGEST_RATIO = {"raw": 1, "gzip": 1040}
# A line end behind the voxels does no harm. More says that a size or a type in the header is wrong:
# a row is longer.
_PADDING = 8


@dataclass(frozen=True, kw_only=True)
class Part:
    """A stretch of voxels.

    Args:
        path: The file.
        start: Where it begins in the file, before unpacking; negative: it ends with the file.
        num_bytes: Its length after unpacking.
        skip: Bytes after unpacking that come before it.
    """

    path: Path
    start: int
    num_bytes: int
    skip: int = 0


def read_start(path: Path, num_bytes: int) -> bytes:
    """The first bytes of a file as they are stored; fewer if it ends early.

    Raises:
        DataError: The file cannot be opened or read.
    """
    with open_file(path) as file:
        try:
            return file.read(num_bytes)
        except OSError as error:
            raise damaged(path, reason_of(error)) from None


def read_head(path: Path, num_bytes: int) -> tuple[bytes, Packing]:
    """The first bytes of a file, unpacked if it is a gzip file, whatever its name says.

    They are fewer than `num_bytes` if the file ends early.

    Raises:
        DataError: The file cannot be opened, or is damaged there.
    """
    # 4 kB of gzip hold any header; of a damaged one, what there is.
    start = read_start(path, max(num_bytes, 4096))
    if start[:2] != _GZIP_MAGIC:
        return start[:num_bytes], "raw"
    try:
        return zlib.decompressobj(_GZIP_OR_ZLIB).decompress(start, num_bytes), "gzip"
    except zlib.error as error:
        raise damaged(path, f"it is damaged or incomplete ({error})") from None


def read_parts(
    source: object, parts: Sequence[Part], *, packing: Packing, number: np.dtype[Any]
) -> npt.NDArray[Any]:
    """Read voxels.

    Args:
        source: The file that the user has named, for messages.
        parts: Where they lie, in order.
        packing: How each part is stored.
        number: Type and byte order of a voxel.

    Returns:
        A flat array in the byte order of this machine.

    Raises:
        DataError: The bytes are fewer than expected, more, or damaged.
    """
    count = sum(part.num_bytes for part in parts) // number.itemsize
    with contextlib.closing(StoredBytes(source, parts, packing=packing)) as stored:
        return stored.read_numbers(0, count, number)


class StoredBytes:
    """The bytes of voxels as if they lay in one piece, of which stretches are read.

    Stretches of what is packed come in their order: each one that lies before the end of the last
    is unpacked from the beginning again.

    Args:
        source: The file that the user has named, for messages.
        parts: Where they lie, in order.
        packing: How each part is stored.

    Raises:
        DataError: A file cannot be opened, or has far too few bytes.
    """

    def __init__(self, source: object, parts: Sequence[Part], *, packing: Packing) -> None:
        for part in parts:
            _require_plausible(source, part, packing)
        self._source, self._parts, self._packing = source, parts, packing
        self._unpacked: _UnpackedPart | None = None

    def close(self) -> None:
        """Let go of the file that is open, if any."""
        if self._unpacked is not None:
            self._unpacked.close()
            self._unpacked = None

    def read_numbers(self, first: int, count: int, number: np.dtype[Any]) -> npt.NDArray[Any]:
        """Read numbers.

        Args:
            first: How many come before.
            count: How many to read.
            number: Their type and byte order.

        Returns:
            A flat array in the byte order of this machine.

        Raises:
            DataError: The bytes are fewer than expected, more, or damaged.
        """
        content = np.empty(count * number.itemsize, np.uint8)
        self._read(first * number.itemsize, content.data)
        return content.view(number).astype(number.newbyteorder("="), copy=False)

    def _read(self, start: int, room: memoryview) -> None:
        done, before = 0, 0
        for part in self._parts:
            inside = start + done - before
            if done < len(room) and inside < part.num_bytes:
                piece = room[done : done + part.num_bytes - inside]
                self._read_of_part(part, inside, piece)
                done += len(piece)
            before += part.num_bytes

    def _read_of_part(self, part: Part, start: int, room: memoryview) -> None:
        try:
            if self._packing == "raw":
                with _open(self._source, part) as file:
                    _read_raw(self._source, file, part, start, room)
            else:
                self._unpacked_from(part, start).read(start, room)
        except OSError as error:
            raise damaged(self._source, reason_of(error)) from None

    def _unpacked_from(self, part: Part, start: int) -> _UnpackedPart:
        """The part at or before one of its bytes; only one is open at a time."""
        opened = self._unpacked
        if opened is None or opened.part != part or start < opened.num_read:
            self.close()
            opened = _UnpackedPart(self._source, part)
            self._unpacked = opened
        return opened


def _open(source: object, part: Part) -> BinaryIO:
    """Open a part; what is wrong with a data file is told of the header that names it."""
    try:
        return open_file(part.path)
    except DataError as error:
        if part.path == source:
            raise
        raise DataError(f"{source}: its data file {error.message}", hint=error.hint) from None


def _require_plausible(source: object, part: Part, packing: Packing) -> None:
    """Refuse what cannot be, before memory is taken for it."""
    with _open(source, part) as file:
        stored = file.seek(0, 2) - max(part.start, 0)
    wanted = part.num_bytes + part.skip
    if wanted > stored * _LARGEST_RATIO[packing]:
        raise _incomplete(source, max(stored, 0), wanted)


def _read_raw(source: object, file: BinaryIO, part: Part, first: int, room: memoryview) -> None:
    """Read the bytes of a part from `first` on."""
    size = file.seek(0, 2)
    start = part.start if part.start >= 0 else size - part.num_bytes
    file.seek(start + part.skip + first)
    done = 0
    while done < len(room):
        content = file.read(min(_UNPACKED_CHUNK, len(room) - done))
        if not content:
            raise _incomplete(source, first + done, part.num_bytes)
        room[done : done + len(content)] = content
        done += len(content)
    surplus = size - start - part.skip - part.num_bytes
    if surplus > _PADDING:
        raise _surplus(source, f"{surplus} more bytes", part.num_bytes)


class _UnpackedPart:
    """A part that is unpacked from its beginning to its end, which is checked.

    Args:
        source: The file that the user has named, for messages.
        part: Where it lies.
    """

    def __init__(self, source: object, part: Part) -> None:
        self.part = part
        self.num_read = 0
        """Bytes before the next one, without those that are skipped."""
        self._source, self._file = source, _open(source, part)
        self._file.seek(max(part.start, 0))
        self._stream = _GzipStream(source, self._file)
        self._is_started = False

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def read(self, start: int, room: memoryview) -> None:
        """Read bytes from `start` on, which none of those that were read lies behind.

        Raises:
            DataError: The stream is damaged, too short or too long.
        """
        if not self._is_started:
            self._is_started = True
            self._skip(self.part.skip, before=0)
        self._skip(start - self.num_read, before=self.num_read)
        self.num_read = start
        done = 0
        while done < len(room):
            content = self._next(len(room) - done, found=start + done)
            room[done : done + len(content)] = content
            done += len(content)
        self.num_read += done
        if self.num_read == self.part.num_bytes:
            self._require_end()

    def _skip(self, count: int, *, before: int) -> None:
        while count > 0:
            count -= len(self._next(count, found=before))

    def _next(self, most: int, *, found: int) -> bytes:
        """Up to `most` bytes, and none but at the end of a piece of the file."""
        content = self._stream.read(min(_UNPACKED_CHUNK, most))
        if content is None:
            raise _incomplete(self._source, found, self.part.num_bytes)
        return content

    def _require_end(self) -> None:
        """Compare the checksum, and refuse more than padding behind the voxels."""
        surplus = 0
        while surplus <= _PADDING:
            # One byte more than there may be shows that there are too many.
            content = self._stream.read(_PADDING + 1 - surplus)
            if content is None:
                break
            surplus += len(content)
        if surplus > _PADDING:
            raise _surplus(self._source, "more bytes", self.part.num_bytes)
        if not self._stream.has_ended:
            raise _incomplete(self._source, self.num_read, self.part.num_bytes)


class _GzipStream:
    """Streams of gzip or zlib, one behind the other, unpacked piece by piece.

    The module `gzip` of the standard library refuses padding behind a stream, which some writers
    leave, and does not know zlib's own header, which MetaImage has.

    Args:
        source: The file that the user has named, for messages.
        file: At the first packed byte.
    """

    def __init__(self, source: object, file: BinaryIO) -> None:
        self._source = source
        self._file = file
        self._unpacker = zlib.decompressobj(_GZIP_OR_ZLIB)
        self._packed = b""
        self.has_ended = False

    def read(self, most: int) -> bytes | None:
        """Up to `most` bytes, which may be none while more follow; None at the end.

        Raises:
            DataError: The stream is damaged.
        """
        packed = self._packed or self._file.read(_CHUNK)
        if not packed:
            return None
        try:
            content = self._unpacker.decompress(packed, most)
        except zlib.error as error:
            if self.has_ended:
                return None  # What follows a whole stream and is not a further one is padding.
            reason = f"it is damaged or incomplete ({error})"
            raise damaged(self._source, reason) from None
        self.has_ended = self._unpacker.eof
        self._packed = self._unpacker.unconsumed_tail
        if self.has_ended:
            self._packed = self._unpacker.unused_data
            self._unpacker = zlib.decompressobj(_GZIP_OR_ZLIB)
        return content


def _incomplete(source: object, found: int, wanted: int) -> DataError:
    return damaged(source, f"it is incomplete ({found} bytes of {wanted})")


def _surplus(source: object, found: str, wanted: int) -> DataError:
    return damaged(source, f"its header asks for {wanted} bytes of voxels, but {found} follow")
