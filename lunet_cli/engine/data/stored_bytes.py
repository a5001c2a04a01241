"""The bytes of voxels on disk, as they are or compressed, and never more than expected."""

from __future__ import annotations

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
    for part in parts:
        _require_plausible(source, part, packing)
    content = np.empty(sum(part.num_bytes for part in parts), np.uint8)
    target, done = content.data, 0
    read = _read_raw if packing == "raw" else _read_packed
    for part in parts:
        with _open(source, part) as file:
            try:
                read(source, file, part, target[done : done + part.num_bytes])
            except OSError as error:
                raise damaged(source, reason_of(error)) from None
        done += part.num_bytes
    return content.view(number).astype(number.newbyteorder("="), copy=False)


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


def _read_raw(source: object, file: BinaryIO, part: Part, room: memoryview) -> None:
    size = file.seek(0, 2)
    start = part.start if part.start >= 0 else size - part.num_bytes
    file.seek(start + part.skip)
    done = 0
    while done < part.num_bytes:
        content = file.read(_UNPACKED_CHUNK)
        if not content:
            break
        _put(content, done, room)
        done += len(content)
    if done < part.num_bytes:
        raise _incomplete(source, done, part.num_bytes)
    surplus = size - start - part.skip - part.num_bytes
    if surplus > _PADDING:
        raise _surplus(source, f"{surplus} more bytes", part.num_bytes)


def _read_packed(source: object, file: BinaryIO, part: Part, room: memoryview) -> None:
    """Unpack one gzip stream after the other, and stop where more comes than there is room for."""
    file.seek(max(part.start, 0))
    stream = _GzipStream(source, file)
    end, done = part.skip + part.num_bytes, 0
    while done <= end + _PADDING:
        # One byte more than there may be shows that there are too many.
        content = stream.read(min(_UNPACKED_CHUNK, end + _PADDING + 1 - done))
        if content is None:
            break
        _put(content, done - part.skip, room)
        done += len(content)
    if done > end + _PADDING:
        raise _surplus(source, "more bytes", part.num_bytes)
    if done < end or not stream.has_ended:
        raise _incomplete(source, max(done - part.skip, 0), part.num_bytes)


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


def _put(content: bytes, position: int, room: memoryview) -> None:
    """Copy what falls into the room."""
    first, last = max(position, 0), min(position + len(content), len(room))
    if first < last:
        room[first:last] = content[first - position : last - position]


def _incomplete(source: object, found: int, wanted: int) -> DataError:
    return damaged(source, f"it is incomplete ({found} bytes of {wanted})")


def _surplus(source: object, found: str, wanted: int) -> DataError:
    return damaged(source, f"its header asks for {wanted} bytes of voxels, but {found} follow")
