"""Writing volumes so that a file is there whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lunet_cli.engine.data.packing import PlaneFile
from lunet_cli.engine.data.reading import open_volume
from lunet_cli.engine.data.volume import Geometry
from lunet_cli.errors import DataError

PARTIAL = ".partial"
_ATTEMPTS = 1000  # a second in all: others need the folder for less
_CHUNK_BYTES = 1 << 24


class VolumeWriter:
    """A volume that is written plane by plane, compressed where the format can.

    The file is written in the folder `.partial` beside its place, read again, compared and only
    then moved.

    Args:
        geometry: Where the voxels lie.
        dtype: Their type.
        path: The file.

    Raises:
        DataError: It cannot be written.
    """

    def __init__(self, geometry: Geometry, dtype: npt.DTypeLike, path: Path) -> None:
        self._geometry, self._dtype, self._path = geometry, np.dtype(dtype), path
        self._partial = path.parent / PARTIAL / path.name
        self._checksum = 0
        with self._errors():
            _reserve(self._partial)
            self._file = PlaneFile(self._partial, geometry, self._dtype)

    def write(self, planes: npt.NDArray[Any]) -> None:
        """Write the next planes (n, H, W).

        Raises:
            DataError: They cannot be written.
        """
        planes = np.ascontiguousarray(planes, self._dtype)
        self._checksum = zlib.crc32(planes.data.cast("B"), self._checksum)
        with self._errors():
            self._file.write(planes)

    def finish(self) -> None:
        """Write what is left, and compare the file with what it should hold.

        Raises:
            DataError: It cannot be written, or holds something else.
        """
        with self._errors():
            self._file.finish()
            if self._checksum != self._stored_checksum():
                raise OSError("what was written differs from what was to be written")

    def publish(self) -> None:
        """Move the whole file to its place.

        Raises:
            DataError: It cannot be moved.
        """
        with self._errors():
            os.replace(self._partial, self._path)

    def discard(self) -> None:
        """Remove what is not whole; of a file that was moved, nothing is left."""
        self._file.close()
        with contextlib.suppress(OSError):
            self._partial.unlink(missing_ok=True)

    def _stored_checksum(self) -> int:
        try:
            volume = open_volume(self._partial)
        except DataError as error:
            raise OSError(error.message) from None
        if volume.geometry.size != self._geometry.size or volume.open_planes is None:
            raise OSError("its header differs from what was to be written")
        depth, height, width = volume.geometry.size
        step, found = _planes_per_chunk(height * width * self._dtype.itemsize), 0
        with contextlib.closing(volume.open_planes()) as stored:
            for first in range(0, depth, step):
                planes = stored.read(first, min(first + step, depth))
                found = zlib.crc32(np.ascontiguousarray(planes).data.cast("B"), found)
        return found

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Let what fails within the block say which file it was, and leave nothing of it."""
        try:
            yield
        except (OSError, RuntimeError, DataError) as error:
            with contextlib.suppress(OSError):
                self._partial.unlink(missing_ok=True)
            reason = _reason(error, self._path.parent)
            raise DataError(f"{self._path}: cannot be written ({reason})") from None


@contextlib.contextmanager
def writing(*writers: VolumeWriter) -> Iterator[None]:
    """Let files appear when the block ends, one after the other, and none if it fails."""
    try:
        yield
        for writer in writers:
            writer.finish()
        for writer in writers:
            writer.publish()
    finally:
        for writer in writers:
            writer.discard()


def write_volume(array: npt.NDArray[Any], geometry: Geometry, path: Path) -> None:
    """Write an array (D, H, W) with its place in the patient; see `VolumeWriter`.

    Raises:
        DataError: It cannot be written; nothing is left at `path`.
    """
    writer = VolumeWriter(geometry, array.dtype, path)
    with writing(writer):
        step = _planes_per_chunk(array[:1].nbytes)
        for first in range(0, len(array), step):
            writer.write(array[first : first + step])


@contextlib.contextmanager
def placed_whole(path: Path) -> Iterator[Path]:
    """Yield an empty file in the folder `.partial`; it is moved to `path` if all goes well.

    Raises:
        DataError: It cannot be written; nothing is left at `path`.
    """
    partial = path.parent / PARTIAL / path.name
    try:
        _reserve(partial)
        yield partial
        os.replace(partial, path)
    except (OSError, RuntimeError) as error:
        raise DataError(f"{path}: cannot be written ({_reason(error, path.parent)})") from None
    finally:  # Of a file that was moved, nothing is left; an interrupted one goes.
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def remove_partial_folder(folder: Path) -> None:
    """Remove the folder of unfinished files, unless another process has some there."""
    try:
        (folder / PARTIAL).rmdir()
    except OSError:
        return


def _planes_per_chunk(plane_bytes: int) -> int:
    return max(1, _CHUNK_BYTES // max(1, plane_bytes))


def _reserve(partial: Path) -> None:
    """Make an empty file in its folder, which another process may just have removed."""
    for attempt in range(_ATTEMPTS):
        try:
            partial.parent.mkdir(parents=True, exist_ok=True)
            partial.touch()
        except (FileExistsError, FileNotFoundError):
            if attempt == _ATTEMPTS - 1:
                raise
            time.sleep(0.001)
        else:
            return


def _reason(error: Exception, folder: Path) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    # ITK does not say why it failed; less than a MiB that is free is the reason in all likelihood.
    if folder.is_dir() and shutil.disk_usage(folder).free < 2**20:
        return "No space left on device"
    return str(error).strip().splitlines()[-1]
