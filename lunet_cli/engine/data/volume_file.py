"""A volume as its file describes it, before a voxel is read: what every format is turned into."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from lunet_cli.engine.data.volume import Geometry, in_words
from lunet_cli.errors import DataError

Voxels = npt.NDArray[Any]
# Microscopes reach 1e-4 mm and slice stacks 50 mm. What lies far beyond is a damaged number or
# another unit.
_SMALLEST_SPACING_MM, _LARGEST_SPACING_MM = 1e-6, 1e4
_LARGEST_OFFSET_MM = 1e7
# Far more voxels than any scanner writes along an axis.
_LARGEST_EDGE = 2**20
# Headers store cosines as float32 or as rounded decimals; beyond this, the axes are skewed.
_SKEW = 1e-3
# Three degrees: what a tilted gantry or a rounded matrix leaves. More is another grid.
_SLIGHT_SKEW = 0.05
_most_skew = ContextVar("_most_skew", default=_SKEW)
_COPY_HINT = "Open it in a viewer, or copy it again from its source."


class PlaneReader(Protocol):
    """A file that is open, of which planes are read."""

    def read(self, first: int, stop: int) -> Voxels:
        """Planes `first` to before `stop` (C, n, H, W), otherwise as `VolumeFile.read` has them."""

    def close(self) -> None:
        """Let go of the file."""


@dataclass(frozen=True, kw_only=True)
class VolumeFile:
    """A volume that can be read.

    Args:
        geometry: Where its voxels lie.
        num_channels: Values per voxel.
        number: Type of the stored numbers.
        read: Reads the voxels (C, D, H, W), in the byte order of this machine, rescaled as the file
            asks.
        remarks: What a person should know about the file, a line each.
        open_planes: Begins to read planes; None where they cannot be read one after the other.
        can_go_back: Whether planes come in any order as fast as in their own.
    """

    geometry: Geometry
    num_channels: int
    number: np.dtype[Any]
    read: Callable[[], Voxels]
    remarks: tuple[str, ...] = ()
    open_planes: Callable[[], PlaneReader] | None = None
    can_go_back: bool = True


def damaged(source: object, reason: str) -> DataError:
    """The error of a file that cannot be read."""
    return DataError(f"{source}: cannot be read: {reason}", hint=_COPY_HINT)


def not_an_image(source: object) -> DataError:
    """The error of a file that holds something else."""
    return damaged(source, "it is not an image, or its format is unknown")


def not_three_dimensional(source: object, sizes: Sequence[int]) -> DataError:
    """The error of a file with too few or too many axes; `sizes` in the order of the file."""
    listed = " x ".join(map(str, sizes))
    return DataError(
        f"{source}: expected a volume of three dimensions (or four, the last for channels), found "
        f"{len(sizes)} dimensions ({listed})",
        hint="Stack two-dimensional slices into one volume first.",
    )


def checked_sizes(source: object, sizes: Sequence[int]) -> tuple[int, ...]:
    """Sizes as they are, if each is positive and such that a volume can have it.

    Raises:
        DataError: They are not.
    """
    if not all(0 < size <= _LARGEST_EDGE for size in sizes):
        raise damaged(source, f"its header says {' x '.join(map(str, sizes))} voxels")
    return tuple(sizes)


def checked_geometry(
    source: object,
    *,
    sizes: Sequence[int],
    spacing_mm: Sequence[float],
    origin_mm: Sequence[float],
    direction: npt.NDArray[np.float64],
) -> Geometry:
    """A geometry in which every number means something.

    Args:
        source: The file, for messages.
        sizes: Voxels along x, y, z.
        spacing_mm: Spacing along x, y, z.
        origin_mm: Centre of the first voxel in LPS.
        direction: 3x3; its columns are the axes x, y, z.

    Raises:
        DataError: A spacing is not positive, an axis is not of length 1, or the axes are not at
            right angles.
    """
    if not all(_SMALLEST_SPACING_MM <= value <= _LARGEST_SPACING_MM for value in spacing_mm):
        raise damaged(source, f"its voxel spacing (x, y, z) is ({in_words(spacing_mm)}) mm")
    if not all(abs(value) <= _LARGEST_OFFSET_MM for value in origin_mm):
        raise damaged(source, f"its origin (x, y, z) is ({in_words(origin_mm)}) mm")
    if not (np.abs(direction) <= 1 + _SKEW).all() or np.linalg.matrix_rank(direction) < 3:
        cosines = in_words(direction.ravel())
        raise damaged(source, f"its axes are not three of length 1 (direction ({cosines}))")
    skew = float(np.abs(direction.T @ direction - np.eye(3)).max())
    if _SKEW < skew <= _most_skew.get():
        # The nearest rotation: that of the polar decomposition.
        left, _, right = np.linalg.svd(direction)
        direction = left @ right
    elif skew > _SKEW:
        cosines = in_words(direction.ravel())
        raise DataError(
            f"{source}: cannot be read: its axes are not at right angles (direction ({cosines}))",
            hint="Resample it onto a grid with right angles first.",
        )
    width, height, depth = checked_sizes(source, sizes)
    x, y, z = map(float, spacing_mm)
    x0, y0, z0 = map(float, origin_mm)
    return Geometry(
        (depth, height, width), (z, y, x), (x0, y0, z0), tuple(direction.ravel().tolist())
    )


@contextlib.contextmanager
def taking_slight_skew() -> Iterator[None]:
    """Within the block, axes that are slightly out of square are squared, not refused."""
    token = _most_skew.set(_SLIGHT_SKEW)
    try:
        yield
    finally:
        _most_skew.reset(token)


def axes_of(
    source: object, matrix: npt.NDArray[np.float64]
) -> tuple[list[float], npt.NDArray[np.float64]]:
    """Split a 3x3 matrix from voxels to mm into the spacing along x, y, z and the direction.

    Raises:
        DataError: A column is zero or not finite.
    """
    # A damaged matrix may hold anything; what comes of it is judged by the next lines.
    with np.errstate(all="ignore"):
        norms = np.linalg.norm(matrix, axis=0)
    if not all(math.isfinite(norm) and norm > 0 for norm in norms):
        raise damaged(
            source, f"its axes do not span a volume (matrix ({in_words(matrix.ravel())}))"
        )
    return norms.tolist(), matrix / norms


def words_of_number(number: np.dtype[Any]) -> str:
    """The type of a number in words, such as `16-bit signed integer`."""
    kind = {"i": "signed integer", "u": "unsigned integer", "f": "float"}[number.kind]
    return f"{8 * number.itemsize}-bit {kind}"
