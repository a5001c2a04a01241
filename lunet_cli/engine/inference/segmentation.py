"""A predicted segmentation on the grid of its file, and how it is put together plane by plane."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lunet_cli.engine.data.interpolation import between_grids
from lunet_cli.engine.data.labels import LabelScheme
from lunet_cli.engine.data.volume import Geometry, Placement

Mask = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
Probabilities = npt.NDArray[np.float32]
OnDecided = Callable[[npt.NDArray[Any], list[Probabilities]], None]
_SLAB_VOXELS = 1 << 22
# Voxel sizes lie in headers as float32, of which seven digits mean something.
_VOLUME_DIGITS = 6


def mask_of(codes: npt.NDArray[Any], index: int, scheme: LabelScheme) -> Mask:
    """Where codes (any shape) say that the region at `index` is."""
    if scheme.activation == "softmax":
        mask: Mask = codes == index + 1
    else:
        mask = (codes >> index & 1).astype(bool)
    return mask


class Painter:
    """Makes label values of codes, and counts the voxels of each region.

    Args:
        scheme: The regions.
        order: In which they are painted; see `LabelScheme.painted_values`.
    """

    def __init__(self, scheme: LabelScheme, order: Sequence[str] | None = None) -> None:
        self._scheme, self._values = scheme, scheme.painted_values(order)
        # Eight bits are half of the file, and every viewer reads them as labels.
        self.dtype = np.min_scalar_type(max(self._values.values()))
        self._counts = dict.fromkeys(scheme.names, 0)

    def paint(self, codes: npt.NDArray[Any]) -> Labels:
        """Label values (n, H, W) of the codes of some planes."""
        labels = np.zeros(codes.shape, self.dtype)
        for name, value in self._values.items():
            mask = mask_of(codes, self._scheme.names.index(name), self._scheme)
            labels[mask] = value
            self._counts[name] += int(np.count_nonzero(mask))
        return labels

    def volumes_ml(self, geometry: Geometry) -> dict[str, float]:
        """Volume of each region that was painted, in ml, with what others cover of it."""
        voxel_ml = math.prod(geometry.spacing_mm) / 1000
        found: dict[str, float] = {}
        for name, count in self._counts.items():
            found[name] = float(f"{count * voxel_ml:.{_VOLUME_DIGITS}g}")
        return found


@dataclass(frozen=True)
class Segmentation:
    """Which voxels belong to which regions.

    Args:
        codes: One number per voxel (D, H, W) of the stored grid; see `LabelScheme.codes`.
        scheme: The regions.
        geometry: The stored grid.
        probabilities: Probability of each region (regions, D, H, W), float32, if it was asked for.
    """

    codes: npt.NDArray[Any]
    scheme: LabelScheme
    geometry: Geometry
    probabilities: npt.NDArray[np.float32] | None = None

    def mask(self, index: int) -> Mask:
        """The voxels (D, H, W) of the region at `index`, bool."""
        return mask_of(self.codes, index, self.scheme)

    def slabs(self) -> Iterator[npt.NDArray[Any]]:
        """The codes of planes that are worked on together.

        Masks of whole volumes would take as much again.
        """
        step = max(1, _SLAB_VOXELS // max(1, self.codes[:1].size))
        for first in range(0, len(self.codes), step):
            yield self.codes[first : first + step]

    def volumes_ml(self) -> dict[str, float]:
        """Volume of each region in ml, with what others cover of it."""
        painter = Painter(self.scheme)
        for codes in self.slabs():
            painter.paint(codes)
        return painter.volumes_ml(self.geometry)

    def replace_mask(self, index: int, mask: Mask) -> None:
        """Give the region at `index` other voxels.

        Exclusive regions take new ones from the background only.
        """
        if self.scheme.activation == "softmax":
            self.codes[self.mask(index) & ~mask] = 0
            self.codes[mask & (self.codes == 0)] = index + 1
        else:
            bit = self.codes.dtype.type(1 << index)
            self.codes[...] = np.where(mask, self.codes | bit, self.codes & ~bit)

    def label_map(self, order: Sequence[str] | None = None) -> Labels:
        """Label values (D, H, W), uint8 or uint16, with regions painted in an order.

        See `LabelScheme.painted_values` for regions that overlap.
        """
        painter = Painter(self.scheme, order)
        labels = np.empty(self.codes.shape, painter.dtype)
        done = 0
        for codes in self.slabs():
            labels[done : done + len(codes)] = painter.paint(codes)
            done += len(codes)
        return labels


class Receiver(ABC):
    """Takes final logits of the network's grid, plane by plane, and decides on stored voxels.

    Between grids of different spacing, logits are interpolated linearly before a voxel's region is
    decided.

    Args:
        placement: How the two grids lie.
        scheme: The regions.
    """

    def __init__(self, placement: Placement, scheme: LabelScheme) -> None:
        self.placement, self.scheme = placement, scheme
        grid = placement.grid
        self.axes = between_grids(
            grid.size, grid.spacing_mm, placement.oriented_size, placement.oriented_spacing_mm
        )
        """The two grids along z, y and x."""

    def band(self, first: int, stop: int) -> Band:
        """What takes the output rows from `first` to before `stop`."""
        return Band(self, slice(first, stop))

    @abstractmethod
    def put(self, logits: Tensor, plane: int, rows: slice) -> None:
        """Decide on output planes from `plane` on, of logits (K, n, rows, W) on stored voxels."""

    def decide(
        self, logits: Tensor, *, with_probabilities: bool
    ) -> tuple[npt.NDArray[Any], list[Probabilities]]:
        """Codes (n, rows, W), and the probability of each region where it is asked for."""
        codes = self.scheme.codes(logits[None])[0].cpu().numpy()
        if not with_probabilities:
            return codes, []
        return codes, list(self.scheme.probabilities(logits[None])[0].cpu().numpy())


class SegmentationBuilder(Receiver):
    """Fills a segmentation of the stored grid.

    Args:
        placement: How the two grids lie.
        scheme: The regions.
        probabilities: Array (regions, D, H, W), float32, to be filled too.
    """

    def __init__(
        self,
        placement: Placement,
        scheme: LabelScheme,
        probabilities: npt.NDArray[np.float32] | None = None,
    ) -> None:
        super().__init__(placement, scheme)
        codes = torch.empty(placement.stored.size, dtype=scheme.code_type).numpy()
        self._codes = placement.orient(codes)
        self._probabilities: list[Probabilities] = []
        if probabilities is not None:
            self._probabilities += map(placement.orient, probabilities)
        self.result = Segmentation(codes, scheme, placement.stored, probabilities)

    def put(self, logits: Tensor, plane: int, rows: slice) -> None:
        """See `Receiver`."""
        planes = slice(plane, plane + logits.shape[1])
        codes, found = self.decide(logits, with_probabilities=bool(self._probabilities))
        self._codes[planes, rows] = codes
        for array, values in zip(self._probabilities, found, strict=True):
            array[planes, rows] = values


class PlaneRelay(Receiver):
    """Hands on each plane of the stored grid as soon as it is decided, and keeps none.

    Args:
        placement: How the two grids lie; the first axis stays the first, and runs alike.
        scheme: The regions.
        on_planes: Called with the codes (n, H, W) of the next planes of the stored grid, and with
            the probability of each region if it is asked for.
        with_probabilities: Whether it is.
    """

    def __init__(
        self,
        placement: Placement,
        scheme: LabelScheme,
        on_planes: OnDecided,
        *,
        with_probabilities: bool,
    ) -> None:
        super().__init__(placement, scheme)
        self._on_planes, self._with_probabilities = on_planes, with_probabilities

    def put(self, logits: Tensor, plane: int, rows: slice) -> None:
        """See `Receiver`; `rows` are all."""
        codes, found = self.decide(logits, with_probabilities=self._with_probabilities)
        self._on_planes(self._stored(codes), list(map(self._stored, found)))

    def _stored(self, oriented: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Planes in the axes of the stored grid."""
        stored = np.empty((len(oriented), *self.placement.stored.size[1:]), oriented.dtype)
        self.placement.orient(stored)[...] = oriented
        return stored


class Band:
    """Rows of the output, and the rows of the network's grid that they are made of."""

    def __init__(self, receiver: Receiver, rows: slice) -> None:
        self._receiver, self._rows = receiver, rows
        row_axis = receiver.axes[1]
        self._is_resampled = receiver.placement.is_resampled
        self.needed = (rows.start, rows.stop)
        if self._is_resampled:
            self.needed = (int(row_axis.lower[rows.start]), int(row_axis.upper[rows.stop - 1]) + 1)
        self._next_plane = 0
        self._kept: Tensor | None = None

    def __call__(self, logits: Tensor, first: int) -> None:
        """Take in logits (K, n, needed rows, W) of the planes from `first` on."""
        if not self._is_resampled:
            self._receiver.put(logits, first, self._rows)
            return
        depth, height, width = self._receiver.axes
        stop = first + logits.shape[1]
        while self._next_plane < len(depth.upper) and depth.upper[self._next_plane] < stop:
            plane = self._next_plane
            below = self._plane(logits, first, int(depth.lower[plane]))
            above = self._plane(logits, first, int(depth.upper[plane]))
            mixed = torch.lerp(below, above, float(depth.share[plane]))
            mixed = height.apply(mixed, 1, self._rows, self.needed[0])
            mixed = width.apply(mixed, 2, slice(None), 0)
            self._receiver.put(mixed[:, None], plane, self._rows)
            self._next_plane += 1
        # The next plane of the output may lie between this one and the first of the next call,
        # whose tensor will take the place of this one.
        self._kept = logits[:, -1].clone()

    def _plane(self, logits: Tensor, first: int, index: int) -> Tensor:
        """A plane of these logits, or the last one of those before."""
        if index >= first:
            return logits[:, index - first]
        assert self._kept is not None
        return self._kept
