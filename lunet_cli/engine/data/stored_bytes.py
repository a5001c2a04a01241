"""The bytes of voxels on disk: as they are or compressed, in one file or several, and never more than expected."""

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
_CHUNK, _UNPACKED_CHUNK = 2**18, 2**22
_GZIP_OR_ZLIB = 47  # for zlib: either header is recognised, and the checksum behind it is compared
_GZIP_MAGIC = b"\x1f\x8b"
# Deflate packs at most 1,032 bytes into one (https://zlib.net/zlib_tech.html).
_LARGEST_RATIO = {"raw": 1, "gzip": 1040}
# A line end behind the voxels does no harm. More says that a size or a type in the header is wrong:
# a row is longer.
_PADDING = 8


@dataclass(frozen=True)
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


def read_head(path: Path, num_bytes: int) -> tuple[bytes, Packing]:
    """The first bytes of a file, unpacked if it is a gzip file, whatever its name says; fewer if it ends early.

    Raises:
        DataError: The file cannot be opened, or is damaged there.
    """
    with open_file(path) as file:
        try:
            # 4 kB of gzip hold any header; of a damaged one, what there is.
            start = file.read(max(num_bytes, 4096))
        except OSError as error:
            raise damaged(path, reason_of(error)) from None
    if start[:2] != _GZIP_MAGIC:
        return start[:num_bytes], "raw"
    try:
        return zlib.decompressobj(_GZIP_OR_ZLIB).decompress(start, num_bytes), "gzip"
    except zlib.error as error:
        raise damaged(path, f"it is damaged or incomplete ({error})") from None


def read_parts(
    source: object, parts: Sequence[Part], packing: Packing, number: np.dtype[Any]
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
    array = content.view(number)
    return array if number.isnative else array.astype(number.newbyteorder("="))


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
    while done < part.num_bytes and (content := file.read(_UNPACKED_CHUNK)):
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
    end, done = part.skip + part.num_bytes, 0
    unpacker, packed, has_ended = zlib.decompressobj(_GZIP_OR_ZLIB), b"", False
    while done <= end + _PADDING:
        packed = packed or file.read(_CHUNK)
        if not packed:
            break
        try:
            content = unpacker.decompress(packed, min(_UNPACKED_CHUNK, end + _PADDING + 1 - done))
        except zlib.error as error:
            if has_ended:
                break  # What follows a whole stream and is not a further one is padding.
            raise damaged(source, f"it is damaged or incomplete ({error})") from None
        _put(content, done - part.skip, room)
        done += len(content)
        has_ended = unpacker.eof
        packed = unpacker.unused_data if has_ended else unpacker.unconsumed_tail
        if has_ended:
            unpacker = zlib.decompressobj(_GZIP_OR_ZLIB)
    if done > end + _PADDING:
        raise _surplus(source, "more bytes", part.num_bytes)
    if done < end or not has_ended:
        raise _incomplete(source, max(done - part.skip, 0), part.num_bytes)


def _put(content: bytes, position: int, room: memoryview) -> None:
    """Copy what falls into the room."""
    first, last = max(position, 0), min(position + len(content), len(room))
    if first < last:
        room[first:last] = content[first - position : last - position]


def _incomplete(source: object, found: int, wanted: int) -> DataError:
    return damaged(source, f"it is incomplete ({found} bytes of {wanted})")


def _surplus(source: object, found: str, wanted: int) -> DataError:
    return damaged(source, f"its header tells of {wanted} bytes of voxels, and {found} follow")
