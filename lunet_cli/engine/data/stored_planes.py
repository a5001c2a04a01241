"""Volumes of which planes are read one after the other, so that memory does not grow with depth."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from lunet_cli.engine.data.intensities import IntensitySurvey, planes_per_look
from lunet_cli.engine.data.interpolation import between_grids
from lunet_cli.engine.data.preprocessing import Floats, Preprocessing
from lunet_cli.engine.data.reading import Source, narrow, open_channels, within_memory
from lunet_cli.engine.data.volume import Geometry, Placement
from lunet_cli.engine.data.volume_file import PlaneReader, VolumeFile, Voxels
from lunet_cli.errors import DataError


class VolumePlanes(Protocol):
    """A volume of which planes are read."""

    @property
    def geometry(self) -> Geometry:
        """Where its voxels lie."""

    @property
    def num_channels(self) -> int:
        """Image channels."""

    def read(self, first: int, stop: int) -> list[Voxels]:
        """Planes `first` to before `stop` (n, H, W) of each channel: see `read_image`."""


class StoredPlanes:
    """The channels of one case, of which planes are read.

    Args:
        sources: The files, for messages.
        files: What they say about themselves.
        readers: The same, open.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        files: Sequence[VolumeFile],
        readers: Sequence[PlaneReader],
    ) -> None:
        self._sources, self._readers = sources, readers
        self.geometry = files[0].geometry
        self.num_channels = sum(file.num_channels for file in files)

    def read(self, first: int, stop: int) -> list[Voxels]:
        """See `VolumePlanes`.

        Raises:
            DataError: A file is damaged, or holds NaN or infinity.
        """
        found: list[Voxels] = []
        for source, reader in zip(self._sources, self._readers, strict=True):
            with within_memory(source):
                for channel in reader.read(first, stop):
                    found.append(narrow(channel, source, planes=(first, stop)))
        return found


@contextlib.contextmanager
def open_planes(sources: Sequence[Source]) -> Iterator[StoredPlanes]:
    """Open the channels of a case of which planes can be read; see `read_image`.

    Args:
        sources: One file per channel, or a single file with all.

    Raises:
        DataError: A file is missing, damaged, or not three-dimensional.
    """
    files = open_channels(sources)
    with contextlib.ExitStack() as stack:
        readers: list[PlaneReader] = []
        for source, file in zip(sources, files, strict=True):
            if file.open_planes is None:
                raise DataError(f"{source}: is another file than a moment ago")
            readers.append(stack.enter_context(contextlib.closing(file.open_planes())))
        yield StoredPlanes(sources, files, readers)


def can_read_planes(files: Sequence[VolumeFile], placement: Placement) -> bool:
    """Whether the planes of a network's grid can be read one after the other.

    Args:
        files: The channels of a case.
        placement: Where they lie in the network's grid.
    """
    # Where the first axis becomes another, each plane takes something of all that are stored.
    if placement.axes[0] != 0:
        return False
    for file in files:
        if file.open_planes is None or (placement.mirrored[0] and not file.can_go_back):
            return False
    return True


class PlaneInput:
    """A volume on the network's grid, of which planes are read when they are asked for.

    It is normalised as a whole: where that depends on all intensities, they are read twice.

    Args:
        planes: The volume as it is stored.
        preprocessing: What happens to it.

    Raises:
        DataError: A file is damaged, or its intensities cannot be normalised.
    """

    def __init__(self, planes: VolumePlanes, preprocessing: Preprocessing) -> None:
        self._planes, self.placement = planes, preprocessing.place(planes.geometry)
        self._grid, oriented = self.placement.grid, self.placement.oriented_size
        self._axes = between_grids(
            oriented, self.placement.oriented_spacing_mm, self._grid.size, self._grid.spacing_mm
        )
        normalization = preprocessing.normalization
        if normalization.looks_at_all:
            self._scalings = [
                normalization.scale(survey.result()) for survey in self._look_at_all()
            ]
        else:
            self._scalings = [normalization.fixed_scale()] * planes.num_channels

    @property
    def size(self) -> tuple[int, int, int]:
        """Voxels (D, H, W)."""
        return self._grid.size

    def crop(self, where: tuple[slice, ...]) -> Floats:
        """Normalised intensities (C, d, h, w) of a box."""
        # Around a volume that is thinner than what a network sees, boxes lie outside of it.
        if where[0].start == where[0].stop:
            height, width = (part.stop - part.start for part in where[1:])
            return np.empty((self._planes.num_channels, 0, height, width), np.float32)
        parts: list[Floats] = []
        for channel, scale in zip(self._box(where), self._scalings, strict=True):
            parts.append(scale(channel))
        return np.stack(parts)

    def _look_at_all(self) -> list[IntensitySurvey]:
        surveys = [IntensitySurvey() for _ in range(self._planes.num_channels)]
        depth, height, width = self.size
        step = planes_per_look(height * width)
        for first in range(0, depth, step):
            planes = slice(first, min(first + step, depth))
            box = self._box((planes, slice(0, height), slice(0, width)))
            for survey, channel in zip(surveys, box, strict=True):
                survey.add(channel)
        return surveys

    def _box(self, where: tuple[slice, ...]) -> list[Voxels]:
        """Intensities (d, h, w) of each channel in a box, as they are stored or interpolated."""
        planes, rows, columns = where
        if not self.placement.is_resampled:
            found = self._oriented(planes.start, planes.stop)
            return [channel[:, rows, columns] for channel in found]
        along = self._axes[0]
        first, stop = int(along.lower[planes.start]), int(along.upper[planes.stop - 1]) + 1
        boxes: list[Voxels] = []
        for channel in self._oriented(first, stop):
            # Copied, since torch takes no mirrored arrays.
            stored = torch.from_numpy(np.array(channel, dtype=np.float32))
            boxes.append(self._interpolated(stored, where, first).numpy())
        return boxes

    def _interpolated(self, stored: Tensor, where: tuple[slice, ...], first: int) -> Tensor:
        for axis in (2, 1):
            stored = self._axes[axis].apply(stored, axis, where[axis], 0)
        return self._axes[0].apply(stored, 0, where[0], first)

    def _oriented(self, first: int, stop: int) -> list[Voxels]:
        """Planes of each channel in the axes of the network's grid."""
        if self.placement.mirrored[0]:
            depth = self.placement.stored.size[0]
            first, stop = depth - stop, depth - first
        return list(map(self.placement.orient, self._planes.read(first, stop)))
