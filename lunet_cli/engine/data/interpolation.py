"""Linear interpolation between two grids whose axes run alike, one axis after the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Lengths = tuple[float, float, float]
Sizes = tuple[int, int, int]


@dataclass(frozen=True)
class Interpolation:
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
    ) -> Interpolation:
        """Voxels of two grids whose outer corners coincide at the first voxel."""
        place = (np.arange(size_out) + 0.5) * (spacing_out / spacing_in) - 0.5
        # Beyond the outermost centres there is nothing to interpolate with.
        place = np.clip(place, 0, size_in - 1)
        lower = np.floor(place).astype(np.int64)
        return cls(lower, np.minimum(lower + 1, size_in - 1), (place - lower).astype(np.float32))

    def apply(self, values: Tensor, axis: int, wanted: slice, first: int) -> Tensor:
        """Interpolate `wanted` output voxels from `values`, which start at input voxel `first`."""
        lower = torch.from_numpy(self.lower[wanted] - first).to(values.device)
        upper = torch.from_numpy(self.upper[wanted] - first).to(values.device)
        shape = [1] * values.ndim
        shape[axis] = -1
        share = torch.from_numpy(self.share[wanted]).to(values.device).reshape(shape)
        return torch.lerp(values.index_select(axis, lower), values.index_select(axis, upper), share)


def between_grids(
    size_in: Sizes, spacing_in: Lengths, size_out: Sizes, spacing_out: Lengths
) -> list[Interpolation]:
    """The interpolation along z, y and x."""
    found: list[Interpolation] = []
    for axis in range(3):
        one = Interpolation.between(
            size_in[axis], spacing_in[axis], size_out[axis], spacing_out[axis]
        )
        found.append(one)
    return found
