"""Moving the voxels of a patch: one map of coordinates, one interpolation.

`torch.nn.functional.grid_sample` does the same, and takes longer on a CPU (docs/adr/0030).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from lunet_cli.config.vocabulary import Size

# In front and behind, the last axis first.
_FRAME = (1, 2, 1, 2, 1, 2)
# What is computed at a time stays in the cache of a core.
_SLAB_VOXELS = 48 * 1024

Coordinates = tuple[Tensor, Tensor, Tensor]


def affine_coordinates(matrix: Tensor, size: Size, spacing_mm: Sequence[float]) -> Coordinates:
    """Where each voxel comes from when a patch is mapped about its centre.

    Args:
        matrix: From places (z, y, x) in mm of the new patch to those of the old one (3, 3).
        size: Voxels (D, H, W) of both.
        spacing_mm: Edges (z, y, x) of a voxel.

    Returns:
        Voxel coordinates z, y and x, each of a shape that broadcasts to (D, H, W).
    """
    axes = []
    for edge, spacing in zip(size, spacing_mm, strict=True):
        axes.append((torch.arange(edge) - (edge - 1) / 2) * spacing)
    depth, height, width = axes
    places = depth.view(-1, 1, 1), height.view(-1, 1), width
    coordinates = []
    for row, edge, spacing in zip(matrix.tolist(), size, spacing_mm, strict=True):
        total = torch.full((1, 1, 1), (edge - 1) / 2)
        # An axis that is not mixed in keeps its length of 1: few numbers instead of a volume.
        for factor, place in zip(row, places, strict=True):
            if factor != 0:
                total = total + (factor / spacing) * place
        coordinates.append(total)
    z, y, x = coordinates
    return z, y, x


def smooth_field(control: Tensor, size: Size) -> Tensor:
    """A field (C, D, H, W) that changes smoothly between control points (C, N, N, N), N >= 4.

    Cubic B-splines, with N - 3 points along each axis of the field and the rest around it.
    """
    field = control
    for axis, edge in enumerate(size, start=1):
        num_points = control.shape[axis]
        places = torch.linspace(1, num_points - 2, edge)
        distance = (places[:, None] - torch.arange(num_points)).abs()
        near = 2 / 3 - distance**2 + distance**3 / 2
        far = (2 - distance).clamp(min=0) ** 3 / 6
        weights = torch.where(distance < 1, near, far)
        field = torch.tensordot(field, weights, ([axis], [1])).movedim(-1, axis)
    return field


def warp(image: Tensor, label: Tensor, coordinates: Coordinates) -> tuple[Tensor, Tensor]:
    """Take an image linearly and its labels from the nearest voxels, with zeros outside of both.

    Args:
        image: (C, D, H, W), float32.
        label: (D, H, W), integer.
        coordinates: Where the voxels of the new patch come from, as `affine_coordinates` gives
            them.

    Returns:
        New image and label of the same shapes and types.
    """
    depth, height, width = label.shape
    # Room for one voxel of zeros in front and two behind: whatever comes from further off is there.
    framed, framed_label = F.pad(image, _FRAME), F.pad(label, _FRAME).flatten()
    moved, moved_label = torch.empty_like(image), torch.empty_like(label)
    thickness = max(1, _SLAB_VOXELS // (height * width))
    for first in range(0, depth, thickness):
        slab = slice(first, first + thickness)
        parts = [axis[slab] if len(axis) > 1 else axis for axis in coordinates]
        places = _Places(parts, label.shape, (min(thickness, depth - first), height, width))
        # A mixture of two label values is neither of them.
        moved_label[slab] = places.nearest(framed_label)
        for channel, volume in enumerate(framed.flatten(1)):
            moved[channel, slab] = places.linear(volume)
    return moved, moved_label


class _Places:
    """Where the voxels of a slab come from, as places in a flattened volume with its frame.

    Args:
        coordinates: Voxel coordinates z, y and x, which broadcast to `size`.
        edges: Voxels of the volume along each axis, without the frame.
        size: Voxels of the slab.
    """

    def __init__(self, coordinates: Sequence[Tensor], edges: Sequence[int], size: Size) -> None:
        self._size = size
        # Voxels of the framed volume from one row, and from one plane, to the next.
        self._row = edges[2] + 3
        self._plane = (edges[1] + 3) * self._row
        shares, starts = [], []
        for axis, edge in zip(coordinates, edges, strict=True):
            inside = (axis + 1).clamp_(0, edge + 1)
            start = inside.floor()
            shares.append(inside.sub_(start).expand(size).reshape(-1))
            starts.append(start.int())
        self._shares = shares
        self._start = self._flat(starts).expand(size).reshape(-1)

    def nearest(self, volume: Tensor) -> Tensor:
        """The nearest voxel of a flattened volume, for each voxel of the slab."""
        index = self._start + self._flat([share.round().int() for share in self._shares])
        return volume.index_select(0, index).view(self._size)

    def linear(self, volume: Tensor) -> Tensor:
        """The trilinear mean of the eight voxels around."""
        z, y, x = self._shares
        planes = []
        for plane in (0, self._plane):
            near, far = (self._line(volume, plane + row, x) for row in (0, self._row))
            planes.append(near.lerp_(far, y))
        return planes[0].lerp_(planes[1], z).view(self._size)

    def _line(self, volume: Tensor, offset: int, share: Tensor) -> Tensor:
        near = volume[offset:].index_select(0, self._start)
        far = volume[offset + 1 :].index_select(0, self._start)
        return near.lerp_(far, share)

    def _flat(self, indices: Sequence[Tensor]) -> Tensor:
        z, y, x = indices
        return z * self._plane + y * self._row + x
