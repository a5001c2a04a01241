"""Volumes with their place in the patient, and their reading from any format that SimpleITK knows."""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk  # noqa: N813  # the name that its own documentation uses

from lunet_cli.engine.data.dicom import DicomSeries, choose_series, read_series
from lunet_cli.errors import DataError
from lunet_cli.results.words import visible

sitk.ProcessObject.SetGlobalWarningDisplay(False)

_NIFTI_FLOATS = {"16": "f4", "64": "f8"}
_NIFTI_HEADER_SIZES = (348, 540)  # versions 1 and 2
SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")


@dataclass(frozen=True)
class Geometry:
    """Where the voxels of an array lie in the patient.

    Args:
        size: Voxels per array axis (z, y, x).
        spacing_mm: Millimetres between voxels per array axis (z, y, x).
        origin_mm: Centre of the first voxel in patient coordinates (LPS, in x, y, z).
        direction: The 3x3 direction cosines, row by row, in ITK's convention (columns are the x, y, z axes).
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
        return cls((depth, height, width), (z, y, x), tuple(image.GetOrigin()), tuple(image.GetDirection()))

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


def read_image(paths: Sequence[Path | DicomSeries]) -> list[sitk.Image]:
    """Read the channels of one case.

    Args:
        paths: One file or DICOM series folder per channel, or a single four-dimensional file.

    Returns:
        One three-dimensional image per channel, all of one geometry: integers of up to 16 bits as stored, float32
        for all other numbers.

    Raises:
        DataError: A file is missing, damaged, not three-dimensional, or holds NaN or infinity.
    """
    channels: list[sitk.Image] = []
    for path in paths:
        image = _read(path)
        parts = _split_channels(image, path)
        for part in parts:
            _require_finite(sitk.GetArrayViewFromImage(part), path)
        channels += parts
        differences = Geometry.of(channels[0]).differences(Geometry.of(parts[0]))
        if differences:
            raise DataError(
                f"{path}: does not lie on the grid of {paths[0].name}: {'; '.join(differences)}",
                hint="All channels of a case need the same size, spacing, origin and direction; resample them first.",
            )
    return channels


def read_label(path: Path) -> sitk.Image:
    """Read a label map as a three-dimensional uint16 image.

    Raises:
        DataError: The file is missing, damaged, not three-dimensional, or holds values that are no labels.
    """
    image = _read(path)
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise DataError(f"{path}: a label map has three dimensions and one component, this has {_shape(image)}")
    array = sitk.GetArrayViewFromImage(image)
    low, high = float(array.min()), float(array.max())
    is_whole = np.issubdtype(array.dtype, np.integer) or bool(np.all(array == np.round(array)))
    if not (is_whole and low >= 0 and high <= 65535):
        raise DataError(
            f"{path}: label values must be whole numbers from 0 to 65535, found {low:g} to {high:g}"
            + ("" if is_whole else " with fractions"),
            hint="Was the label map resampled with linear interpolation? Use nearest neighbour.",
        )
    label: sitk.Image = sitk.Cast(image, sitk.sitkUInt16)
    return label


def read_header(path: Path | DicomSeries) -> tuple[Geometry, int]:
    """Geometry and number of channels of an image, without reading its voxels.

    Of a DICOM series, the first and the last slice are looked at.

    Raises:
        DataError: The file is missing, damaged, or not three-dimensional.
    """
    if isinstance(path, Path) and path.is_dir():
        path = choose_series(path)
    if isinstance(path, DicomSeries):
        first, last = (_read_header(file, path) for file in (path.files[0], path.files[-1]))
        geometry, num_slices = Geometry.of(_empty_image(first)), len(path.files)
        thickness, y, x = geometry.spacing_mm
        width, height, num_frames = first.GetSize()
        if num_slices > 1:
            thickness = math.dist(first.GetOrigin()[:3], last.GetOrigin()[:3]) / (num_slices - 1)
        depth = num_frames if num_slices == 1 else num_slices
        return replace(geometry, size=(depth, height, width), spacing_mm=(thickness, y, x)), 1
    if not path.exists():
        raise DataError(f"{path}: there is no such file or folder")
    reader = _read_header(str(path), path)
    size, components = reader.GetSize(), reader.GetNumberOfComponents()
    is_stack = len(size) == 4 and components == 1
    if len(size) != 3 and not is_stack:
        raise _not_three_dimensional(path, f"{len(size)} dimensions ({' x '.join(map(str, size))})")
    header = _empty_image(reader)
    geometry = replace(Geometry.of(header[..., 0] if is_stack else header), size=(size[2], size[1], size[0]))
    return geometry, size[3] if is_stack else components


def stored_number_type(path: Path | DicomSeries) -> str:
    """The type of the stored intensities in words, such as `16-bit signed integer`."""
    if isinstance(path, Path) and path.is_dir():
        path = choose_series(path)
    reader = _read_header(path.files[0] if isinstance(path, DicomSeries) else str(path), path)
    return str(sitk.GetPixelIDValueAsString(reader.GetPixelID()))


def _read_header(file: str, path: Path | DicomSeries) -> sitk.ImageFileReader:
    reader = sitk.ImageFileReader()
    reader.SetFileName(file)
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise _unreadable(path, _reason(str(error))) from None
    return reader


def _empty_image(header: sitk.ImageFileReader) -> sitk.Image:
    """A single voxel where the first one of a file lies."""
    voxel = sitk.Image([1] * header.GetDimension(), sitk.sitkUInt8)
    voxel.SetSpacing(header.GetSpacing())
    voxel.SetOrigin(header.GetOrigin())
    voxel.SetDirection(header.GetDirection())
    return voxel


def _read(path: Path | DicomSeries) -> sitk.Image:
    if isinstance(path, Path) and path.is_dir():
        path = choose_series(path)
    if isinstance(path, Path) and not path.exists():
        raise DataError(f"{path}: there is no such file or folder")
    try:
        image = read_series(path) if isinstance(path, DicomSeries) else sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise _unreadable(path, _reason(str(error))) from None
    if isinstance(path, DicomSeries):
        return image
    if path.name.lower().endswith((".nii", ".nii.gz")) and image.HasMetaDataKey("nifti_type"):
        _require_whole_nifti(path, image)
    return image


def _require_whole_nifti(path: Path, image: sitk.Image) -> None:
    """Look at the stored bytes for what ITK hides: it fills a file that ends early, and turns NaN into 0."""
    edges = [int(image.GetMetaData(f"dim[{axis}]")) for axis in range(1, int(image.GetMetaData("dim[0]")) + 1)]
    start = int(float(image.GetMetaData("vox_offset")))
    expected = start + math.prod(edges) * int(image.GetMetaData("bitpix")) // 8
    try:
        content = _unpack(path)
    except (EOFError, OSError, zlib.error) as error:
        raise _unreadable(path, f"it is damaged or incomplete ({error})") from None
    if len(content) < expected:
        raise _unreadable(path, f"it is incomplete ({len(content)} bytes of {expected})")
    number = _NIFTI_FLOATS.get(image.GetMetaData("datatype"))
    if number is not None:
        order = "<" if int.from_bytes(content[:4], "little") in _NIFTI_HEADER_SIZES else ">"
        _require_finite(np.frombuffer(content, order + number, count=math.prod(edges), offset=start), path)


def _unpack(path: Path) -> bytes:
    """The bytes of a file, unpacked if it is a gzip file, whose checksum is compared on the way."""
    content = path.read_bytes()
    return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content


def _unreadable(path: Path | DicomSeries, reason: str) -> DataError:
    return DataError(f"{path}: cannot be read: {reason}", hint="Open it in a viewer, or copy it anew from its source.")


def _reason(text: str) -> str:
    """Say in words why ITK could not read a file."""
    reasons = {
        "Unable to determine ImageIO": "it is no image, or its format is unknown",
        "orthonormal": "its axes are not at right angles, which ITK refuses",
        "nondecreasing": "its axes are not at right angles, which ITK refuses",
        "Size mismatch": "its slices differ in size",
        "does not fully contain the requested region": "its slices differ in size",
        # The reason that ITK adds here is "No such file" even if the file only ends early.
        "MetaImageIO": "it is damaged or incomplete, or the data file that it names is missing",
    }
    if reason := next((words for key, words in reasons.items() if key in text), None):
        return reason
    # The last line that carries words is the reason; the lines before name the source files of ITK.
    lines = [line.split("ERROR:")[-1].strip() for line in text.splitlines() if line.strip()]
    return f"it is damaged or incomplete ({lines[-1] if lines else text})"


def _split_channels(image: sitk.Image, path: Path | DicomSeries) -> list[sitk.Image]:
    components = image.GetNumberOfComponentsPerPixel()
    if image.GetDimension() == 4 and components == 1:
        return [_narrow(image[..., index]) for index in range(image.GetSize()[3])]
    if image.GetDimension() == 3 and components > 1:
        return [_narrow(sitk.VectorIndexSelectionCast(image, index)) for index in range(components)]
    if image.GetDimension() == 3:
        return [_narrow(image)]
    raise _not_three_dimensional(path, _shape(image))


def _not_three_dimensional(path: Path | DicomSeries, found: str) -> DataError:
    return DataError(
        f"{path}: expected a volume of three dimensions (or four, the last for channels), found {found}",
        hint="Stack two-dimensional slices into one volume first.",
    )


def _narrow(image: sitk.Image) -> sitk.Image:
    """Keep small integers, which take half of the memory of float32."""
    is_small = image.GetPixelID() in (sitk.sitkUInt8, sitk.sitkInt8, sitk.sitkUInt16, sitk.sitkInt16)
    narrow: sitk.Image = image if is_small else sitk.Cast(image, sitk.sitkFloat32)
    return narrow


def _require_finite(array: npt.NDArray[np.floating[Any]], path: Path | DicomSeries) -> None:
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        num_bad = int(array.size - np.isfinite(array).sum())
        raise DataError(
            f"{path}: {num_bad} of {array.size} voxels are NaN or infinite",
            hint="Replace them first, for instance with the background intensity.",
        )


def _shape(image: sitk.Image) -> str:
    components = image.GetNumberOfComponentsPerPixel()
    size = " x ".join(str(edge) for edge in image.GetSize())
    return f"{image.GetDimension()} dimensions ({size})" + (f" with {components} components" if components > 1 else "")


def _numbers(values: Sequence[float]) -> str:
    return "(" + ", ".join(f"{value:g}" for value in values) + ")"
