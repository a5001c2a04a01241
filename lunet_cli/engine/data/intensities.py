"""What normalisation asks of all intensities of a channel, taken from planes as they come."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

_CHUNK_VOXELS = 1 << 22  # 32 MiB of float64 at a time
_LOOK_VOXELS = 1 << 20  # little beside what planes take on their way through a network


@dataclass(frozen=True)
class Intensities:
    """All intensities of a channel, in four numbers.

    Args:
        low: The smallest.
        high: The largest.
        mean: Their mean.
        std: Their standard deviation.
    """

    low: float
    high: float
    mean: float
    std: float


class IntensitySurvey:
    """Intensities that are looked at in blocks of planes."""

    def __init__(self) -> None:
        self._low, self._high = math.inf, -math.inf
        self._count, self._mean, self._squares = 0, 0.0, 0.0

    def add(self, planes: npt.NDArray[Any]) -> None:
        """Take in planes (n, H, W) of finite numbers."""
        self._low = min(self._low, float(planes.min()))
        self._high = max(self._high, float(planes.max()))
        values = planes.astype(np.float64)
        mean = float(values.mean())
        values -= mean
        squares = float(np.square(values, out=values).sum())
        # Mean and squares of two groups from those of each, without the loss of digits that sums
        # of squares have (Chan, Golub, LeVeque: Updating formulae, 1979).
        count = self._count + planes.size
        apart = mean - self._mean
        self._mean += apart * planes.size / count
        self._squares += squares + apart**2 * self._count * planes.size / count
        self._count = count

    def result(self) -> Intensities:
        """The numbers of all blocks."""
        return Intensities(
            self._low, self._high, self._mean, math.sqrt(self._squares / self._count)
        )


def planes_per_look(plane_voxels: int) -> int:
    """How many planes are looked at together."""
    return max(1, _LOOK_VOXELS // max(1, plane_voxels))


def intensities_of(channel: npt.NDArray[Any], *, with_moments: bool) -> Intensities:
    """The same of a whole channel (D, H, W); mean and deviation are 0 unless they are asked for."""
    low, high = float(channel.min()), float(channel.max())
    if not with_moments:
        return Intensities(low, high, 0.0, 0.0)
    return Intensities(low, high, *_mean_and_std(channel))


def _mean_and_std(channel: npt.NDArray[Any]) -> tuple[float, float]:
    """Mean and standard deviation in float64, slab by slab, so that no whole copy is made."""
    mean = float(channel.mean(dtype=np.float64))
    step = max(1, _CHUNK_VOXELS // max(1, channel[0].size))
    squares = 0.0
    for first in range(0, len(channel), step):
        slab = channel[first : first + step].astype(np.float64)
        squares += float(np.square(slab - mean).sum())
    return mean, float(np.sqrt(squares / channel.size))
