"""The one door for volumes that others have written: checked here, and never again behind it.

Each format has a module that reads its header and says where the voxels lie. NIfTI, NRRD, MetaImage
and DICOM that is not compressed are read without ITK, which aborts on some damaged files; all else
is read by ITK in a process of its own (docs/adr/0017).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813

from lunet_cli.engine.data import metaimage, nifti, nrrd
from lunet_cli.engine.data.dicom import DicomSeries, choose_series, open_series, series_of_file
from lunet_cli.engine.data.dicom_planes import is_dicom
from lunet_cli.engine.data.dicom_seg import is_segmentation, open_segmentation
from lunet_cli.engine.data.disk import is_folder
from lunet_cli.engine.data.other_formats import open_with_itk
from lunet_cli.engine.data.volume import Geometry
from lunet_cli.engine.data.volume_file import VolumeFile, Voxels, words_of_number
from lunet_cli.errors import DataError

Source = Path | DicomSeries
OnRemark = Callable[[str], None]
# A name decides, since some of these formats have no mark in their content to be told by.
_FORMATS: dict[tuple[str, ...], Callable[[Path], VolumeFile]] = {
    nifti.SUFFIXES: nifti.open_nifti,
    metaimage.SUFFIXES: metaimage.open_metaimage,
    nrrd.SUFFIXES: nrrd.open_nrrd,
}
# From microscopes of a tissue to the thickest slices; metres and micrometres that were meant as mm
# lie outside.
_SMALLEST_USUAL_MM, _LARGEST_USUAL_MM = 1e-3, 100.0


def ignore_remark(text: str) -> None:
    """Take a remark and do nothing with it."""


def open_volume(source: Source, *, on_remark: OnRemark = ignore_remark) -> VolumeFile:
    """Read and check what a volume says about itself.

    Args:
        source: A file of any format, or a DICOM series or the folder of one.
        on_remark: Called with each line that a person should know about the file.

    Raises:
        DataError: It is missing, damaged, or not a volume.
    """
    volume = _open(source)
    for remark in volume.remarks:
        on_remark(remark)
    low, high = min(volume.geometry.spacing_mm), max(volume.geometry.spacing_mm)
    if low < _SMALLEST_USUAL_MM or high > _LARGEST_USUAL_MM:
        on_remark(f"{source}: has voxels of {low:g} to {high:g} mm; is their unit right?")
    return volume


def read_image(
    sources: Sequence[Source], *, on_remark: OnRemark = ignore_remark
) -> list[sitk.Image]:
    """Read the channels of one case.

    Args:
        sources: One file or DICOM series folder per channel, or a single file with all channels.
        on_remark: Called with each line that a person should know about a file.

    Returns:
        One three-dimensional image per channel, all of one geometry: integers of up to 16 bits as
        stored, float32 for all other numbers.

    Raises:
        DataError: A file is missing, damaged, not three-dimensional, or holds NaN or infinity.
    """
    channels: list[sitk.Image] = []
    volumes = open_channels(sources, on_remark=on_remark)
    for source, volume in zip(sources, volumes, strict=True):
        with within_memory(source):
            for voxels in volume.read():
                channels.append(_to_image(narrow(voxels, source), volume.geometry))
    return channels


def open_channels(
    sources: Sequence[Source], *, on_remark: OnRemark = ignore_remark
) -> list[VolumeFile]:
    """Read and check what the channels of one case say about themselves; see `read_image`.

    Raises:
        DataError: A file is missing, damaged, not three-dimensional, or lies elsewhere.
    """
    volumes: list[VolumeFile] = []
    for source in sources:
        volumes.append(open_volume(source, on_remark=on_remark))
        differences = volumes[0].geometry.differences(volumes[-1].geometry)
        if differences:
            raise DataError(
                f"{source}: does not lie on the grid of {sources[0].name}: "
                f"{'; '.join(differences)}",
                hint="All channels of a case need the same size, spacing, origin and direction; "
                "resample them first.",
            )
    return volumes


def read_label(
    path: Path, *, grid: Geometry | None = None, on_remark: OnRemark = ignore_remark
) -> sitk.Image:
    """Read a label map, or a DICOM segmentation, as a three-dimensional uint16 image.

    Args:
        path: The file. Of a segmentation, the numbers of its segments are the values.
        grid: Where the voxels of a segmentation are placed, which has only planes with segments;
            label maps stay on their own grid.
        on_remark: Called with each line that a person should know about the file.

    Raises:
        DataError: The file is missing, damaged, not three-dimensional, or holds values that are not
            labels; or segments overlap.
    """
    if is_segmentation(path):
        return _read_segmentation(path, grid)
    volume = open_volume(path, on_remark=on_remark)
    if volume.num_channels != 1:
        raise DataError(
            f"{path}: a label map has one value per voxel, but this file has {volume.num_channels}"
        )
    with within_memory(path):
        array = volume.read()[0]
        # NaN makes both ends NaN, which no comparison below lets pass.
        low, high = float(array.min()), float(array.max())
        is_whole = array.dtype.kind in "iu" or bool(np.all(array == np.round(array)))
    if not (is_whole and low >= 0 and high <= 65535):
        fractions = "" if is_whole else " with fractions"
        raise DataError(
            f"{path}: label values must be whole numbers from 0 to 65535, found {low:g} to "
            f"{high:g}{fractions}",
            hint="Was the label map resampled with linear interpolation? Use nearest neighbour.",
        )
    with within_memory(path):
        return _to_image(array.astype(np.uint16), volume.geometry)


def _read_segmentation(path: Path, grid: Geometry | None) -> sitk.Image:
    seg = open_segmentation(path)
    with within_memory(path):
        return _to_image(seg.label_map(grid), grid or seg.geometry)


def read_header(source: Source, *, on_remark: OnRemark = ignore_remark) -> tuple[Geometry, int]:
    """Geometry and number of channels of an image, without reading its voxels.

    Raises:
        DataError: The file is missing, damaged, or not three-dimensional.
    """
    volume = open_volume(source, on_remark=on_remark)
    return volume.geometry, volume.num_channels


def stored_number_type(source: Source) -> str:
    """The type of the stored intensities in words, such as `16-bit signed integer`."""
    return words_of_number(open_volume(source).number)


@contextlib.contextmanager
def within_memory(source: Source) -> Iterator[None]:
    """Let a volume that does not fit into memory be an error of its own, which ends no batch.

    Raises:
        DataError: It does not fit.
    """
    try:
        yield
    except MemoryError:
        raise DataError(
            f"{source}: does not fit into the free memory",
            hint="Crop it, or use a machine with more memory.",
        ) from None


def _open(source: Source) -> VolumeFile:
    if isinstance(source, DicomSeries):
        return open_series(source)
    if is_folder(source):
        return open_series(choose_series(source))
    name = source.name.lower()
    for suffixes, open_format in _FORMATS.items():
        if name.endswith(suffixes):
            return open_format(source)
    if is_dicom(source):
        return open_series(series_of_file(source))
    return open_with_itk(source)


def narrow(voxels: Voxels, source: Source, *, planes: tuple[int, int] | None = None) -> Voxels:
    """Keep small integers, which take half of the memory of float32, and check all else.

    Args:
        voxels: What was read.
        source: Where from, for messages.
        planes: The first plane and the one after the last, where these are not all.

    Raises:
        DataError: A number is NaN, or infinite in float32.
    """
    if voxels.dtype.kind in "iu" and voxels.dtype.itemsize <= 2:
        return voxels
    with np.errstate(over="ignore"):  # What float32 cannot hold becomes infinite, and is refused.
        narrowed = voxels.astype(np.float32, copy=False)
    if voxels.dtype.kind == "f":
        _require_finite(narrowed, source, planes)
    return narrowed


def _require_finite(voxels: Voxels, source: Source, planes: tuple[int, int] | None) -> None:
    finite = np.isfinite(voxels)
    if not finite.all():
        num_bad = int(voxels.size - np.count_nonzero(finite))
        where = ""
        if planes is not None:
            first, last = planes[0] + 1, planes[1]
            where = f" of plane {first}" if first == last else f" of planes {first} to {last}"
        raise DataError(
            f"{source}: {num_bad} of {voxels.size} voxels{where} are NaN or infinite",
            hint="Replace them first, for instance with the background intensity.",
        )


def _to_image(array: Voxels, geometry: Geometry) -> sitk.Image:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(geometry.spacing_mm[::-1])
    image.SetOrigin(geometry.origin_mm)
    image.SetDirection(geometry.direction)
    return image
