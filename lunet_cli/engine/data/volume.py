"""Volumes with their place in the patient, and the names of their files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk  # noqa: N813  # the name that its own documentation uses

from lunet_cli.results.words import visible

sitk.ProcessObject.SetGlobalWarningDisplay(False)

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
            (depth, height, width), (z, y, x), tuple(image.GetOrigin()), tuple(image.GetDirection())
        )

    def differences(self, other: Geometry) -> list[str]:
        """Say in words where `other` differs: its spacing by 0.001, its origin by 0.01 voxel, a cosine by 0.001."""
        found = []
        if self.size != other.size:
            found.append(f"size (z, y, x) {_numbers(self.size)} against {_numbers(other.size)}")
        voxel = min(self.spacing_mm)
        for name, mine, theirs, tolerance in (
            ("spacing (z, y, x)", self.spacing_mm, other.spacing_mm, 1e-3 * voxel),
            ("origin (x, y, z)", self.origin_mm, other.origin_mm, 1e-2 * voxel),
            ("direction", self.direction, other.direction, 1e-3),
        ):
            if not np.allclose(mine, theirs, rtol=0, atol=tolerance):
                found.append(f"{name} {_numbers(mine)} against {_numbers(theirs)}")
        return found


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
    """What a volume is called: its file name without the suffix, a folder's name as it is; see `visible`."""
    for suffix in SUFFIXES:
        if path.name.lower().endswith(suffix):
            return visible(path.name[: -len(suffix)])
    return visible(path.name)


def _numbers(values: Sequence[float]) -> str:
    return "(" + ", ".join(f"{value:g}" for value in values) + ")"
