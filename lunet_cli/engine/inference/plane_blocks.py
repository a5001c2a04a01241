"""Volumes whose planes a Python program hands over block by block."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterable, Iterator
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from lunet_cli.engine.data.volume import Geometry
from lunet_cli.engine.data.volume_file import Voxels
from lunet_cli.engine.inference.images import ImageArray, require_real
from lunet_cli.errors import DataError
from lunet_cli.results.words import plural

Block = npt.NDArray[np.float32]


def checked_blocks(
    planes: Iterable[ImageArray], geometry: Geometry, num_channels: int
) -> Iterator[Block]:
    """The blocks as float32, each with the shape that it should have, and as many as there should.

    Args:
        planes: Blocks of planes (C, n, H, W).
        geometry: Where the voxels of the volume lie.
        num_channels: Channels that the network takes.

    Raises:
        DataError: A block has another shape, no real numbers, NaN or infinity; or the planes are
            more or fewer than those of the volume.
    """
    depth, height, width = geometry.size
    count = 0
    for block in planes:
        require_real(block)
        if block.ndim != 4 or (block.shape[0], *block.shape[2:]) != (num_channels, height, width):
            raise DataError(
                f"a block of shape {block.shape} is not one of planes ({num_channels}, n, "
                f"{height}, {width})",
                hint="Give a single plane of a single channel as plane[None, None].",
            )
        count += block.shape[1]
        if count > depth:
            break
        with np.errstate(over="ignore"):  # What float32 cannot hold becomes infinite.
            found = np.ascontiguousarray(block, dtype=np.float32)
        if not np.isfinite(found).all():
            first, last = count - block.shape[1] + 1, count
            raise DataError(f"voxels of planes {first} to {last} are NaN or infinite")
        yield found
    if count != depth:
        more = "more than" if count > depth else f"{count} of"
        raise DataError(f"{more} the {plural(depth, 'plane')} of the volume came")


class PlaneBlocks:
    """Planes that are read once, in their order; the last ones may be read again.

    Args:
        blocks: What `checked_blocks` gives.
        geometry: Where the voxels lie.
        num_channels: Image channels.
    """

    def __init__(self, blocks: Iterator[Block], geometry: Geometry, num_channels: int) -> None:
        self._blocks, self.geometry, self.num_channels = blocks, geometry, num_channels
        self._first = 0
        self._kept = np.empty((num_channels, 0, *geometry.size[1:]), np.float32)

    def read(self, first: int, stop: int) -> list[Voxels]:
        """See `VolumePlanes`."""
        parts = [self._kept]
        count = self._first + self._kept.shape[1]
        while count < stop:
            parts.append(next(self._blocks))
            count += parts[-1].shape[1]
        # On a coarser grid, planes may be left out between those of two blocks.
        self._kept = np.concatenate(parts, axis=1)[:, first - self._first :]
        self._first = first
        if count == self.geometry.size[0]:
            next(self._blocks, None)  # Of too many planes, the first is one.
        return list(self._kept[:, : stop - first])


class SpooledPlanes:
    """Planes that lie in a file, to be read in any order and again.

    Args:
        file: What `spooled` has opened.
        geometry: Where the voxels lie.
        num_channels: Image channels.
    """

    def __init__(self, file: BinaryIO, geometry: Geometry, num_channels: int) -> None:
        self._file, self.geometry, self.num_channels = file, geometry, num_channels

    def read(self, first: int, stop: int) -> list[Voxels]:
        """See `VolumePlanes`."""
        shape = (stop - first, self.num_channels, *self.geometry.size[1:])
        found = np.empty(shape, np.float32)
        self._file.seek(first * found[:1].nbytes)
        self._file.readinto(found.data.cast("B"))  # type: ignore[attr-defined]
        return list(found.swapaxes(0, 1))


@contextlib.contextmanager
def spooled(
    blocks: Iterator[Block], geometry: Geometry, num_channels: int
) -> Iterator[SpooledPlanes]:
    """Keep planes in a nameless file of the temporary folder.

    Raises:
        DataError: There is no room for it; or what `checked_blocks` raises.
    """
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(tempfile.TemporaryFile())
            for block in blocks:
                file.write(np.ascontiguousarray(block.swapaxes(0, 1)).data.cast("B"))
            file.flush()
        except OSError as error:
            raise DataError(
                f"{tempfile.gettempdir()}: planes cannot be kept there ({error.strerror or error})",
                hint="The variable TMPDIR names another folder.",
            ) from None
        yield SpooledPlanes(file, geometry, num_channels)
