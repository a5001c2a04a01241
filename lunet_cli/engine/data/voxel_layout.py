"""How the voxels of a file lie in it, so that all or some of their planes can be read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lunet_cli.engine.data.stored_bytes import Packing, Part, StoredBytes, read_parts
from lunet_cli.engine.data.volume_file import Voxels


def unchanged(voxels: Voxels) -> Voxels:
    """Voxels of a file that asks for no rescaling."""
    return voxels


@dataclass(frozen=True, kw_only=True)
class VoxelLayout:
    """How the voxels of a file lie in it.

    Args:
        source: The file that the user has named, for messages.
        parts: Where they lie, in order.
        packing: How each part is stored.
        number: Type and byte order of a value.
        size: Voxels (D, H, W).
        num_stacked: Volumes that lie one behind the other.
        num_beside: Values that lie side by side for each voxel.
        rescale: What the file asks to be done with its values.
    """

    source: object
    parts: Sequence[Part]
    packing: Packing
    number: np.dtype[Any]
    size: tuple[int, int, int]
    num_stacked: int = 1
    num_beside: int = 1
    rescale: Callable[[Voxels], Voxels] = unchanged

    @property
    def can_go_back(self) -> bool:
        """Whether planes can be read in any order; what is packed is unpacked from its start."""
        return self.packing == "raw"

    def read(self) -> Voxels:
        """All voxels (C, D, H, W), in the byte order of this machine, rescaled.

        Raises:
            DataError: They are fewer than the header says, more, or damaged.
        """
        flat = read_parts(self.source, self.parts, packing=self.packing, number=self.number)
        return self.arranged(flat, self.num_stacked)

    def open(self) -> OpenVoxels:
        """Begin to read planes."""
        return OpenVoxels(self)

    def arranged(self, flat: Voxels, num_stacked: int) -> Voxels:
        """Values as they lie in the file, as planes (C, n, H, W) of so many volumes."""
        shape = (num_stacked, -1, *self.size[1:], self.num_beside)
        by_voxel = self.rescale(flat).reshape(shape)
        # Of these two, one is 1.
        planes: Voxels = by_voxel[..., 0]
        if num_stacked == 1:
            planes = by_voxel[0].transpose(3, 0, 1, 2)
        return planes


class OpenVoxels:
    """Voxels of a file that are read plane by plane.

    Of what is packed, the planes that were read last are kept: they could not be had again without
    starting anew.

    Args:
        layout: How they lie in the file.
    """

    def __init__(self, layout: VoxelLayout) -> None:
        self._layout = layout
        # Of what is packed, each volume is unpacked on its own.
        num_streams = layout.num_stacked
        if layout.can_go_back:
            num_streams = 1
        self._stored: list[StoredBytes] = []
        for _ in range(num_streams):
            stored = StoredBytes(layout.source, layout.parts, packing=layout.packing)
            self._stored.append(stored)
        self._first, self._last = 0, np.empty((0, 0))

    def read(self, first: int, stop: int) -> Voxels:
        """Planes `first` to before `stop` (C, n, H, W), as `VoxelLayout.read` gives them.

        Raises:
            DataError: They are fewer than the header says, more, or damaged.
        """
        kept = self._kept(first, stop)
        if kept is None:
            found = self._read(first, stop)
        else:
            found = np.concatenate([kept, self._read(first + kept.shape[1], stop)], axis=1)
        if not self._layout.can_go_back:
            self._first, self._last = first, found
        return found

    def close(self) -> None:
        """Let go of the file."""
        for stored in self._stored:
            stored.close()

    def _kept(self, first: int, stop: int) -> Voxels | None:
        """Those of the planes that were read last, where more follow them."""
        if self._last.ndim < 4:
            return None
        end = self._first + self._last.shape[1]
        if not self._first <= first < end <= stop:
            return None
        return self._last[:, first - self._first :]

    def _read(self, first: int, stop: int) -> Voxels:
        layout = self._layout
        depth, height, width = layout.size
        plane = height * width * layout.num_beside
        volumes: list[Voxels] = []
        for volume in range(layout.num_stacked):
            stored = self._stored[volume % len(self._stored)]
            begin = (volume * depth + first) * plane
            flat = stored.read_numbers(begin, (stop - first) * plane, layout.number)
            volumes.append(layout.arranged(flat, 1))
        if len(volumes) == 1:
            return volumes[0]
        return np.concatenate(volumes)
