"""Volumes and where they lie in the patient, and the names of their files."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk  # noqa: N813  # the name that its own documentation uses

from lunet_cli.results.words import visible

# What ITK prints on standard error comes beside the lines that lunet says of the same file.
sitk.ProcessObject.SetGlobalWarningDisplay(False)

_T = TypeVar("_T")

SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")


@dataclass(frozen=True)
class Geometry:
    """Where the voxels of an array lie in the patient.

    Args:
        size: Voxels per array axis (z, y, x).
        spacing_mm: Millimetres between voxels per array axis (z, y, x).
        origin_mm: Centre of the first voxel in patient coordinates (LPS, in x, y, z).
        direction: The 3x3 direction cosines, row by row, in ITK's convention (columns are the x, y,
            z axes).
    """

    size: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    origin_mm: tuple[float, float, float]
    direction: tuple[float, ...]

    @classmethod
    def of(cls, image: sitk.Image) -> Geometry:
        """The geometry of a three-dimensional image."""
        depth, height, width = reversed(image.GetSize())
        z, y, x = reversed(image.GetSpacing())
        return cls(
            size=(depth, height, width),
            spacing_mm=(z, y, x),
            origin_mm=tuple(image.GetOrigin()),
            direction=tuple(image.GetDirection()),
        )

    def differences(self, other: Geometry) -> list[str]:
        """Say in words where `other` differs.

        Less than 0.001 voxel of spacing, 0.01 voxel of origin and 0.001 of a cosine is rounding, as
        headers in float32 or in decimals have it, and moves no voxel to the place of another.
        """
        found = []
        if self.size != other.size:
            sizes = f"({in_words(self.size)}) against ({in_words(other.size)})"
            found.append(f"size (z, y, x) {sizes}")
        voxel = min(self.spacing_mm)
        for name, mine, theirs, tolerance in (
            ("spacing (z, y, x)", self.spacing_mm, other.spacing_mm, 1e-3 * voxel),
            ("origin (x, y, z)", self.origin_mm, other.origin_mm, 1e-2 * voxel),
            ("direction", self.direction, other.direction, 1e-3),
        ):
            if not np.allclose(mine, theirs, rtol=0, atol=tolerance):
                found.append(f"{name} ({in_words(mine)}) against ({in_words(theirs)})")
        return found


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where a stored grid lies in another: axes are reordered, mirrored, then spacing changes.

    Args:
        stored: The grid as it is in the file.
        axes: The stored array axis that becomes each of z, y, x.
        mirrored: Whether each of z, y, x runs against its stored axis.
        grid: The other grid, such as that of a network.
    """

    stored: Geometry
    axes: tuple[int, int, int]
    mirrored: tuple[bool, bool, bool]
    grid: Geometry

    @property
    def oriented_size(self) -> tuple[int, int, int]:
        """Voxels (D, H, W) in the axes of the grid, before resampling."""
        z, y, x = (self.stored.size[axis] for axis in self.axes)
        return z, y, x

    @property
    def oriented_spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size (z, y, x) in the axes of the grid, before resampling."""
        z, y, x = (self.stored.spacing_mm[axis] for axis in self.axes)
        return z, y, x

    @property
    def is_resampled(self) -> bool:
        """Whether voxels are interpolated, not only reordered."""
        oriented = (self.oriented_size, self.oriented_spacing_mm)
        return (self.grid.size, self.grid.spacing_mm) != oriented

    def orient(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """A stored array (D, H, W) in the axes of the grid: a view, through which one can write."""
        return np.flip(array.transpose(self.axes), tuple(np.flatnonzero(self.mirrored)))


def place(
    stored: Geometry, orientation: str | None, spacing_mm: tuple[float, float, float] | None = None
) -> Placement:
    """How a stored grid is turned and resampled.

    Args:
        stored: The grid of a file.
        orientation: Direction in which x, y and z increase, such as `LPS`; None keeps the axes.
        spacing_mm: Voxel size (z, y, x) to resample to; None keeps that of the file.
    """
    order, flips = np.arange(3), np.zeros(3, dtype=bool)
    if orientation is not None:
        order, flips = map(np.array, _itk_orientation(tuple(stored.direction), orientation))
    direction = np.array(stored.direction).reshape(3, 3)[:, order]
    spacing = np.array(stored.spacing_mm[::-1])[order]
    size = np.array(stored.size[::-1])[order]
    origin = np.array(stored.origin_mm) + direction @ (flips * spacing * (size - 1))
    direction = direction * np.where(flips, -1.0, 1.0)
    if spacing_mm is not None:
        wanted = np.array(spacing_mm[::-1], dtype=float)
        size = np.maximum(1, np.round(size * spacing / wanted)).astype(int)
        # The outer corners stay in place, so the first voxel's centre moves by half the change in
        # spacing.
        origin = origin + direction @ ((wanted - spacing) / 2)
        spacing = wanted
    grid = Geometry(
        size=_triple(size[::-1].tolist()),
        spacing_mm=_triple(spacing[::-1].tolist()),
        origin_mm=_triple(origin.tolist()),
        direction=tuple(direction.ravel().tolist()),
    )
    # ITK counts axes from x, arrays count them from z.
    axes, mirrored = _triple((2 - order[::-1]).tolist()), _triple(flips[::-1].tolist())
    return Placement(stored=stored, axes=axes, mirrored=mirrored, grid=grid)


def along_patient(geometry: Geometry) -> Placement:
    """How a stored array is turned so that its axes run upwards, to the back and to the left."""
    return place(geometry, "LPS")


# Asked for each volume several times, and ITK starts its threads for each answer.
@functools.lru_cache(maxsize=1024)
def _itk_orientation(
    direction: tuple[float, ...], orientation: str
) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    """The stored axis (x, y, z) that becomes each axis, and whether each is then mirrored."""
    # A single voxel lets ITK decide which axis of an oblique grid lies nearest to which direction.
    voxel = sitk.Image([1, 1, 1], sitk.sitkUInt8)
    voxel.SetDirection(direction)
    orient = sitk.DICOMOrientImageFilter()
    orient.SetDesiredCoordinateOrientation(orientation)
    orient.Execute(voxel)
    return tuple(orient.GetPermuteOrder()), tuple(map(bool, orient.GetFlipAxes()))


def _triple(values: list[_T]) -> tuple[_T, _T, _T]:
    first, second, third = values
    return first, second, third


@dataclass(frozen=True)
class Volume:
    """An image and its geometry.

    Args:
        array: Intensities (C, D, H, W), float32.
        geometry: Where the voxels lie.
    """

    array: npt.NDArray[np.float32]
    geometry: Geometry


@dataclass(frozen=True)
class LabelMap:
    """A label map and its geometry.

    Args:
        array: Label values (D, H, W), uint16; 0 is background.
        geometry: Where the voxels lie.
    """

    array: npt.NDArray[np.uint16]
    geometry: Geometry


def has_volume_suffix(path: Path) -> bool:
    """Whether the file name ends like a volume."""
    return path.name.lower().endswith(SUFFIXES)


def stem(path: Path) -> str:
    """What a volume is called: its file name without the suffix, or the name of its folder."""
    for suffix in SUFFIXES:
        if path.name.lower().endswith(suffix):
            return visible(path.name[: -len(suffix)])
    return visible(path.name)


def in_words(values: Iterable[float]) -> str:
    """Numbers as a message lists them."""
    return ", ".join(f"{value:g}" for value in values)
