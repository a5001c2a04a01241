"""The pixels of DICOM files, decompressed and rescaled plane by plane."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import RLELossless

from lunet_cli.engine.data.dicom_planes import Plane, one_line, read_dataset
from lunet_cli.engine.data.itk_process import ItkError, decode_dicom
from lunet_cli.engine.data.volume_file import Voxels, damaged

_SINGLE_PICTURE, _PICTURES = "1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.7.3"
_PIXEL_FIELDS = (
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "NumberOfFrames",
    "PixelData",
)
# Compressed files that one process decompresses: starting one takes 0.3 s, and more than these
# would wait in memory.
_FILES_AT_ONCE = 64
# Memory that a codec may take per value: 2 bytes of the answer, copies of it, and room for 32 bits.
_BYTES_PER_VALUE = 16


def number_of(planes: Sequence[Plane]) -> np.dtype[Any]:
    """The smallest type that holds all rescaled values, whatever the stored ones are."""
    # Decided by what bits and scales allow, not by the voxels, so that it is known from headers.
    low, high = math.inf, -math.inf
    for plane in planes:
        if not (plane.slope.is_integer() and plane.intercept.is_integer()):
            return np.dtype(np.float32)
        first = -(2 ** (plane.bits - 1)) if plane.is_signed else 0
        last = first + 2**plane.bits - 1
        ends = [value * plane.slope + plane.intercept for value in (first, last)]
        low, high = min(low, *ends), max(high, *ends)
    for name in ("u1", "i1", "u2", "i2"):
        limits = np.iinfo(name)
        if limits.min <= low and high <= limits.max:
            return np.dtype(name)
    return np.dtype(np.float32)


def read_pixels(planes: Sequence[Plane]) -> Voxels:
    """Read planes, in their order, as one volume (1, planes, rows, columns).

    Raises:
        DataError: A file is damaged, or ends early.
    """
    volume = np.empty((len(planes), *planes[0].size), number_of(planes))
    wanted: dict[Path, list[int]] = {}
    for index, plane in enumerate(planes):
        wanted.setdefault(plane.file, []).append(index)
    for path, frames in frames_of([*wanted]):
        for index in wanted[path]:
            plane = planes[index]
            if frames.shape[1:] != plane.size or plane.frame >= len(frames):
                shape = " x ".join(map(str, frames.shape))
                raise damaged(path, f"its pixels have the shape {shape}")
            _rescale(frames[plane.frame], plane, volume[index])
    return volume[None]


def _rescale(stored: npt.NDArray[Any], plane: Plane, target: npt.NDArray[Any]) -> None:
    spare = 8 * stored.itemsize - plane.bits
    if stored.dtype.kind in "iu" and spare > 0:
        # Old files keep overlays in the bits above the stored ones.
        stored = (stored << spare) >> spare
    if plane.slope == 1 and plane.intercept == 0:
        target[...] = stored
        return
    # What does not fit becomes infinite, and is refused with all that is not finite.
    with np.errstate(over="ignore", invalid="ignore"):
        target[...] = stored * np.float64(plane.slope) + np.float64(plane.intercept)


def frames_of(paths: Sequence[Path]) -> Iterator[tuple[Path, npt.NDArray[Any]]]:
    """Stored values (frames, rows, columns) of each file.

    Raises:
        DataError: A file is damaged, or ends early.
    """
    packed: list[tuple[Path, Dataset]] = []
    for path in paths:
        dataset = read_dataset(path, with_pixels=True)
        if "PixelData" not in dataset:
            raise damaged(path, "it has no pixels, or ends before them")
        if not _needs_codec(path, dataset):
            yield path, _frames(path, dataset)
            continue
        packed.append((path, dataset))
        if len(packed) == _FILES_AT_ONCE:
            yield from _decompress(packed)
            packed = []
    yield from _decompress(packed)


def _frames(path: Path, dataset: Dataset) -> npt.NDArray[Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            array = dataset.pixel_array
    except Exception as error:
        # A damaged file leads pydicom into errors of every kind, and must give one line.
        reason = one_line(error)
        raise damaged(path, f"its pixels are damaged or incomplete ({reason})") from None
    frames: npt.NDArray[Any] = array.reshape(-1, *array.shape[-2:])
    return frames


def is_compressed(path: Path, dataset: Dataset) -> bool:
    """Whether the pixels of a file are compressed in any way.

    Raises:
        DataError: It does not say how its pixels are stored.
    """
    syntax = getattr(dataset, "file_meta", Dataset()).get("TransferSyntaxUID")
    try:
        return syntax is not None and bool(syntax.is_compressed)
    except ValueError:
        raise damaged(path, "its Transfer Syntax UID is none of DICOM") from None


def _needs_codec(path: Path, dataset: Dataset) -> bool:
    return is_compressed(path, dataset) and dataset.file_meta.TransferSyntaxUID != RLELossless


def _decompress(packed: Sequence[tuple[Path, Dataset]]) -> Iterator[tuple[Path, npt.NDArray[Any]]]:
    if not packed:
        return
    first, dataset = packed[0]
    num_values = dataset.Rows * dataset.Columns * _num_frames(dataset)
    limit_mib = _BYTES_PER_VALUE * num_values // 2**20
    try:
        arrays = decode_dicom([_bare(one) for _, one in packed], limit_mib=limit_mib)
    except ItkError as error:
        source = first.parent if len(packed) > 1 else first
        raise damaged(source, f"its pixels: {error}") from None
    for (path, _), array in zip(packed, arrays, strict=True):
        yield path, array


def _num_frames(dataset: Dataset) -> int:
    return int(dataset.get("NumberOfFrames") or 1)


def _bare(dataset: Dataset) -> bytes:
    """A file with the pixels and what decompresses them, so that nothing else reaches GDCM."""
    bare = Dataset()
    for keyword in _PIXEL_FIELDS:
        if keyword in dataset:
            bare[keyword] = dataset[keyword]
    bare.SOPClassUID = _PICTURES if _num_frames(dataset) > 1 else _SINGLE_PICTURE
    bare.SOPInstanceUID = "1.2.826.0.1.3680043.8.498.1"
    bare.file_meta = FileMetaDataset()
    bare.file_meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
    bare.file_meta.MediaStorageSOPClassUID = bare.SOPClassUID
    bare.file_meta.MediaStorageSOPInstanceUID = bare.SOPInstanceUID
    buffer = io.BytesIO()
    bare.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
