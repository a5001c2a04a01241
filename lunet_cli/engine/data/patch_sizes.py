"""How large the patches of a batch are: always the same, or drawn anew for each batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lunet_cli.config.vocabulary import Size


@dataclass(frozen=True, kw_only=True)
class PatchSizes:
    """Sizes of patches.

    Args:
        usual: Voxels (D, H, W) of a patch, as the network is used later.
        stride: Total stride of the network; drawn edges are multiples of it.
        scale: Smallest and largest factor of an edge of `usual`.
        volumes: Voxels (D, H, W) of each training case.
        large: Epochs, counted from 0, whose batches have whole volumes.
        most: The longest edge in those.
    """

    usual: Size
    stride: int
    scale: tuple[float, float]
    volumes: Sequence[Size]
    large: range
    most: Size

    def of_batch(self, cases: Sequence[int], epoch: int, rng: np.random.Generator) -> Size:
        """Voxels (D, H, W) of the patches of a batch.

        Args:
            cases: The cases that they are taken from.
            epoch: The epoch, counted from 0.
            rng: Source of all randomness.
        """
        if epoch in self.large:
            largest = np.max([self.volumes[case] for case in cases], axis=0)
            edges = np.minimum(largest, self.most)
            return self._rounded(np.ceil(edges / self.stride))
        low, high = self.scale
        if low == high:
            return self.usual
        factors = np.exp(rng.uniform(math.log(low), math.log(high), 3))
        return self._rounded(np.rint(np.array(self.usual) * factors / self.stride))

    def _rounded(self, strides: np.ndarray) -> Size:
        depth, height, width = (np.maximum(strides, 1).astype(int) * self.stride).tolist()
        return depth, height, width
