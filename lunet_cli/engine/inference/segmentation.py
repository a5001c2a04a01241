"""A predicted segmentation on the grid of its file, and how it is put together plane by plane."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lunet_cli.engine.data.labels import LabelScheme
from lunet_cli.engine.data.volume import Geometry, Placement

Mask = npt.NDArray[np.bool_]
_SLAB_VOXELS = 1 << 22


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
        return self._mask_of(self.codes, index)

    def _mask_of(self, codes: npt.NDArray[Any], index: int) -> Mask:
        if self.scheme.activation == "softmax":
            mask: Mask = codes == index + 1
        else:
            mask = (codes >> index & 1).astype(bool)
        return mask

    def _slabs(self) -> Iterator[slice]:
        """Planes that are worked on together: masks of whole volumes would take as much again."""
        step = max(1, _SLAB_VOXELS // max(1, self.codes[:1].size))
        for first in range(0, len(self.codes), step):
            yield slice(first, first + step)

    def volumes_ml(self) -> dict[str, float]:
        """Volume of each region in ml, with what others cover of it."""
        voxel_ml = math.prod(self.geometry.spacing_mm) / 1000
        volumes: dict[str, float] = {}
        for index, name in enumerate(self.scheme.names):
            num_voxels = 0
            for planes in self._slabs():
                num_voxels += int(np.count_nonzero(self._mask_of(self.codes[planes], index)))
            volumes[name] = num_voxels * voxel_ml
        return volumes

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

    def label_map(
        self, order: Sequence[str] | None = None
    ) -> npt.NDArray[np.uint8] | npt.NDArray[np.uint16]:
        """Label values (D, H, W), uint8 or uint16, with regions painted in an order.

        See `LabelScheme.painted_values` for regions that overlap.
        """
        values = self.scheme.painted_values(order)
        # Eight bits are half of the file, and every viewer reads them as labels.
        dtype = np.min_scalar_type(max(values.values()))
        labels = np.zeros(self.codes.shape, dtype)
        for planes in self._slabs():
            for name, value in values.items():
                mask = self._mask_of(self.codes[planes], self.scheme.names.index(name))
                labels[planes][mask] = value
        return labels


@dataclass(frozen=True)
class _Interpolation:
    """Between which two input voxels each output voxel lies along one axis.

    Args:
        lower: Index of the first input voxel.
        upper: Index of the second.
        share: How far from the first to the second.
    """

    lower: npt.NDArray[np.int64]
    upper: npt.NDArray[np.int64]
    share: npt.NDArray[np.float32]

    @classmethod
    def between(
        cls, size_in: int, spacing_in: float, size_out: int, spacing_out: float
    ) -> _Interpolation:
        """Voxels of two grids whose outer corners coincide at the first voxel."""
        place = (np.arange(size_out) + 0.5) * (spacing_out / spacing_in) - 0.5
        # Beyond the outermost centres there is nothing to interpolate with.
        place = np.clip(place, 0, size_in - 1)
        lower = np.floor(place).astype(np.int64)
        return cls(lower, np.minimum(lower + 1, size_in - 1), (place - lower).astype(np.float32))

    def apply(self, logits: Tensor, axis: int, rows: slice, first: int) -> Tensor:
        """Interpolate `rows` of the output from `logits`, which start at input voxel `first`."""
        lower = torch.from_numpy(self.lower[rows] - first).to(logits.device)
        upper = torch.from_numpy(self.upper[rows] - first).to(logits.device)
        shape = [1] * logits.ndim
        shape[axis] = -1
        share = torch.from_numpy(self.share[rows]).to(logits.device).reshape(shape)
        return torch.lerp(logits.index_select(axis, lower), logits.index_select(axis, upper), share)


class SegmentationBuilder:
    """Fills a segmentation of the stored grid from final logits, plane by plane.

    The logits lie on the network's grid. Between grids of different spacing, logits are
    interpolated linearly before a voxel's region is decided.

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
        self._placement, self._scheme = placement, scheme
        codes = torch.empty(placement.stored.size, dtype=scheme.code_type).numpy()
        self._codes = placement.orient(codes)
        self._probabilities: list[npt.NDArray[np.float32]] = []
        if probabilities is not None:
            self._probabilities += map(placement.orient, probabilities)
        self.result = Segmentation(codes, scheme, placement.stored, probabilities)
        grid, spacing, size = placement.grid, placement.oriented_spacing_mm, placement.oriented_size
        self._axes = [
            _Interpolation.between(
                grid.size[axis], grid.spacing_mm[axis], size[axis], spacing[axis]
            )
            for axis in range(3)
        ]

    def band(self, first: int, stop: int) -> Band:
        """A receiver for the output rows from `first` to before `stop`."""
        return Band(self, slice(first, stop))

    def put(self, logits: Tensor, plane: int, rows: slice) -> None:
        """Decide on output planes from `plane` on, of logits (K, n, rows, W) on stored voxels."""
        planes = slice(plane, plane + logits.shape[1])
        self._codes[planes, rows] = self._scheme.codes(logits[None])[0].cpu().numpy()
        if self._probabilities:
            found = self._scheme.probabilities(logits[None])[0].cpu().numpy()
            for array, values in zip(self._probabilities, found, strict=True):
                array[planes, rows] = values

    @property
    def is_resampled(self) -> bool:
        """Whether the two grids differ in more than the order of their axes."""
        return self._placement.is_resampled

    @property
    def axes(self) -> list[_Interpolation]:
        """The two grids along z, y and x."""
        return self._axes


class Band:
    """Rows of the output, and the rows of the network's grid that they are made of."""

    def __init__(self, builder: SegmentationBuilder, rows: slice) -> None:
        self._builder, self._rows = builder, rows
        row_axis = builder.axes[1]
        self.needed = (rows.start, rows.stop)
        if builder.is_resampled:
            self.needed = (int(row_axis.lower[rows.start]), int(row_axis.upper[rows.stop - 1]) + 1)
        self._next_plane = 0
        self._kept: Tensor | None = None

    def __call__(self, logits: Tensor, first: int) -> None:
        """Take in logits (K, n, needed rows, W) of the planes from `first` on."""
        if not self._builder.is_resampled:
            self._builder.put(logits, first, self._rows)
            return
        depth, height, width = self._builder.axes
        stop = first + logits.shape[1]
        while self._next_plane < len(depth.upper) and depth.upper[self._next_plane] < stop:
            plane = self._next_plane
            below = self._plane(logits, first, int(depth.lower[plane]))
            above = self._plane(logits, first, int(depth.upper[plane]))
            mixed = torch.lerp(below, above, float(depth.share[plane]))
            mixed = height.apply(mixed, 1, self._rows, self.needed[0])
            mixed = width.apply(mixed, 2, slice(None), 0)
            self._builder.put(mixed[:, None], plane, self._rows)
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
