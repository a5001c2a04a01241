"""Volumes as Python users have them: arrays, SimpleITK images or files; and what comes back."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk  # noqa: N813

from lunet_cli.config.vocabulary import Size
from lunet_cli.engine.data.reading import read_image
from lunet_cli.engine.data.volume import Geometry
from lunet_cli.engine.inference.inputs import find_inputs
from lunet_cli.errors import DataError

Location = str | os.PathLike[str]
"""A path, as text or as an object."""

ImageArray = npt.NDArray[np.floating[Any]] | npt.NDArray[np.integer[Any]]
"""Intensities (C, D, H, W) as they would be stored, along channels, z, y and x."""

LabelArray = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
"""Label values (D, H, W); 0 is background."""

ProbabilityArray = npt.NDArray[np.float32]
"""Probability of a label per voxel (D, H, W), 0 to 1."""

Spacing = tuple[float, float, float]
"""Millimetres between voxels along z, y and x."""

_LPS = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
_SMALL_INTEGERS = (sitk.sitkUInt8, sitk.sitkInt8, sitk.sitkUInt16, sitk.sitkInt16)

LabelMap = TypeVar("LabelMap")
Probability = TypeVar("Probability")


@dataclass(frozen=True, kw_only=True)
class PredictedVolume(Generic[LabelMap, Probability]):
    """What a network makes of one volume, on the grid of that volume.

    Args:
        label_map: The label of each voxel: an array (D, H, W) of an array, otherwise an image.
        values: The number that stands for each label in the label map; 0 is background.
        volume_ml: Volume of each label, with what other labels cover of it.
        probabilities: Probability of each label, 0 to 1, if it was asked for: arrays (D, H, W),
            float32, of an array, otherwise images.
    """

    label_map: LabelMap
    values: dict[str, int]
    volume_ml: dict[str, float]
    probabilities: dict[str, Probability]


PredictedArray = PredictedVolume[LabelArray, ProbabilityArray]
PredictedImage = PredictedVolume[sitk.Image, sitk.Image]


def as_paths(locations: Location | Sequence[Location]) -> list[Path]:
    """One path, or several, as a list."""
    if isinstance(locations, (str, os.PathLike)):
        return [Path(locations)]
    return list(map(Path, locations))


def channels_of_array(image: ImageArray, spacing_mm: Spacing) -> list[sitk.Image]:
    """The channels of an array, whose axes increase to the left, back and top (LPS).

    Raises:
        DataError: It has not four axes, is empty, has no real numbers, or a value is NaN or
            infinite; or the spacing is not three positive numbers.
    """
    if image.ndim != 4 or not image.size:
        raise DataError(
            f"an array of shape {image.shape} is not an image (C, D, H, W)",
            hint="Give a single channel as image[None].",
        )
    require_real(image)
    require_spacing(spacing_mm)
    channels: list[sitk.Image] = []
    for channel in image:
        found = sitk.GetImageFromArray(np.ascontiguousarray(channel, dtype=np.float32))
        # SimpleITK counts x, y, z.
        found.SetSpacing(tuple(map(float, spacing_mm[::-1])))
        _require_finite(found)
        channels.append(found)
    return channels


def require_real(image: ImageArray) -> None:
    """Raise if an array does not hold real numbers.

    Raises:
        DataError: It does not.
    """
    if image.dtype.kind not in "biuf":
        raise DataError(f"an array of {image.dtype} is not an image", hint="Give real numbers.")


def require_spacing(spacing_mm: Spacing) -> None:
    """Raise if a voxel size is not three positive numbers.

    Raises:
        DataError: It is not.
    """
    spacing = np.array(spacing_mm, dtype=object).ravel()
    is_real = [isinstance(value, int | float | np.integer | np.floating) for value in spacing]
    if len(spacing) != 3 or not all(is_real) or not all(0 < value < math.inf for value in spacing):
        raise DataError(f"`spacing_mm`: expected three positive numbers, found {spacing_mm!r}")


def grid_of_array(size: Size, spacing_mm: Spacing) -> Geometry:
    """The grid of an array (D, H, W), whose axes increase to the left, back and top (LPS).

    Raises:
        DataError: The size is not three positive whole numbers, or the spacing not three positive
            numbers.
    """
    require_spacing(spacing_mm)
    edges = list(size)
    is_size = len(edges) == 3 and all(isinstance(edge, int | np.integer) for edge in edges)
    if not is_size or min(edges) < 1:
        raise DataError(f"`size`: expected three positive whole numbers, found {size!r}")
    depth, height, width = map(int, edges)
    z, y, x = map(float, spacing_mm)
    return Geometry((depth, height, width), (z, y, x), (0.0, 0.0, 0.0), _LPS)


def channels_of_image(image: sitk.Image) -> list[sitk.Image]:
    """The channels of an image: those of its vectors, or else itself.

    Raises:
        DataError: It is not three-dimensional, or a value is NaN or infinite.
    """
    if image.GetDimension() != 3:
        raise DataError(f"an image of {image.GetDimension()} dimensions is not a volume")
    channels: list[sitk.Image] = []
    for index in range(image.GetNumberOfComponentsPerPixel()):
        channel = image
        if image.GetNumberOfComponentsPerPixel() > 1:
            channel = sitk.VectorIndexSelectionCast(image, index)
        # As of a file: integers of up to 16 bits stay, all other numbers become float32.
        if channel.GetPixelID() not in _SMALL_INTEGERS:
            channel = sitk.Cast(channel, sitk.sitkFloat32)
        _require_finite(channel)
        channels.append(channel)
    return channels


def channels_of_file(path: Path, num_channels: int) -> list[sitk.Image]:
    """The channels of a file, or of the folder of a DICOM series.

    Raises:
        DataError: It cannot be read, or holds several volumes.
    """
    cases, failures = find_inputs([path], num_channels=num_channels)
    if failures:
        raise DataError(failures[0].message, hint=failures[0].hint)
    if len(cases) != 1:
        raise DataError(
            f"{path}: holds {len(cases)} volumes", hint="Name one of them, or use `predict`."
        )
    return read_image(cases[0].images)


def image_of(array: npt.NDArray[Any], geometry: Geometry) -> sitk.Image:
    """An array (D, H, W) as an image that lies where `geometry` says."""
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(geometry.spacing_mm[::-1])
    image.SetOrigin(geometry.origin_mm)
    image.SetDirection(geometry.direction)
    return image


def _require_finite(channel: sitk.Image) -> None:
    """Raise if a number is NaN or infinite, of which a network would make more of them."""
    is_finite = np.isfinite(sitk.GetArrayViewFromImage(channel))
    if not is_finite.all():
        raise DataError(
            f"{np.count_nonzero(~is_finite)} of {is_finite.size} voxels are NaN or infinite",
            hint="Replace them first, for instance with the background intensity.",
        )
