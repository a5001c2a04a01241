"""What the tests of readers share: refusals, remarks, damaged headers and DICOM series."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from lunet_cli.engine.data.reading import read_image
from lunet_cli.errors import DataError

ENHANCED = {"CT": "1.2.840.10008.5.1.4.1.1.2.1", "MR": "1.2.840.10008.5.1.4.1.1.4.1"}
SPACING = (0.7, 0.8, 2.5)
ORIGIN = (-10.5, 20.25, 30.0)
# 30 degrees about z, then 40 about x: no axis of the image lies along an axis of the patient.
_C30, _S30, _C40, _S40 = 0.8660254038, 0.5, 0.7660444431, 0.6427876097
OBLIQUE = (_C30, -_S30, 0.0, _S30 * _C40, _C30 * _C40, -_S40, _S30 * _S40, _C30 * _S40, _C40)
ARRAY = np.random.default_rng(0).integers(0, 2000, (5, 6, 7)).astype(np.int16)


@pytest.fixture
def refusal() -> Callable[..., str]:
    """Give the message, of one line, with which a reader refuses what it is called with."""

    def ask(read: Callable[..., object], argument: object) -> str:
        with pytest.raises(DataError) as caught:
            read(argument)
        assert "\n" not in caught.value.message
        return caught.value.message

    return ask


@pytest.fixture
def remarks_on() -> Callable[[Path], list[str]]:
    """Give what is odd about a volume, without its name."""

    def ask(path: Path) -> list[str]:
        remarks: list[str] = []
        read_image([path], on_remark=remarks.append)
        return [remark.removeprefix(f"{path}: ") for remark in remarks]

    return ask


@pytest.fixture
def change_nifti() -> Callable[..., Path]:
    """Write other values into a NIfTI header: format and first byte of each field."""

    def change(path: Path, **fields: tuple[str, int, tuple[float, ...]]) -> Path:
        content = bytearray(path.read_bytes())
        for kind, start, values in fields.values():
            struct.pack_into(kind, content, start, *values)
        path.write_bytes(content)
        return path

    return change


@pytest.fixture
def series(tmp_path: Path, write_series: Any) -> Path:
    """A series of five oblique slices."""
    folder = tmp_path / "ct"
    return write_series(folder, ARRAY, spacing=SPACING, origin=ORIGIN, direction=OBLIQUE)


@pytest.fixture
def change_slices() -> Callable[[Path, Callable[[Dataset, int], None]], None]:
    """Change each slice of a series, in the order of positions."""

    def change_all(folder: Path, change: Callable[[Dataset, int], None]) -> None:
        for index, path in enumerate(sorted(folder.iterdir(), reverse=True)):
            dataset = pydicom.dcmread(path)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                change(dataset, index)
                dataset.save_as(path)

    return change_all


@pytest.fixture
def write_enhanced() -> Callable[..., Dataset]:
    """Write an enhanced image of uint16 frames."""
    return _write_enhanced


def _write_enhanced(
    path: Path,
    array: np.ndarray[Any, Any],
    *,
    modality: str = "CT",
    order: list[int] | None = None,
    slopes: list[float] | None = None,
    intercepts: list[float] | None = None,
    spacing: tuple[float, float, float] = SPACING,
    origin: tuple[float, float, float] = ORIGIN,
    direction: tuple[float, ...] = OBLIQUE,
) -> Dataset:
    """Write an enhanced image of uint16 frames, which lie in the file in the order `order`."""
    num = len(array)
    order = order or [*range(num)]
    axes = np.array(direction).reshape(3, 3)
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = ENHANCED[modality]
    dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.SOPClassUID, dataset.Modality = ENHANCED[modality], modality
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID
    for name in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        setattr(dataset, name, generate_uid())
    dataset.PatientID, dataset.PatientName, dataset.PatientBirthDate, dataset.PatientSex = (
        "1",
        "A^B",
        "",
        "",
    )
    dataset.StudyID, dataset.StudyDate, dataset.StudyTime, dataset.AccessionNumber = (
        "1",
        "20260101",
        "120000",
        "",
    )
    dataset.ReferringPhysicianName, dataset.Manufacturer, dataset.PositionReferenceIndicator = (
        "",
        "",
        "",
    )
    dataset.ContentDate, dataset.ContentTime = "20260101", "120000"
    dataset.InstanceNumber, dataset.SeriesNumber = 1, 3
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    dataset.Rows, dataset.Columns = array.shape[1:]
    dataset.NumberOfFrames, dataset.SamplesPerPixel = num, 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = (
        16,
        16,
        15,
        0,
    )
    measures = Dataset()
    measures.PixelSpacing, measures.SliceThickness = [spacing[1], spacing[0]], spacing[2]
    measures.SpacingBetweenSlices = -spacing[
        2
    ]  # Some scanners write it so; positions say how slices lie.
    turn = Dataset()
    turn.ImageOrientationPatient = [*axes[:, 0], *axes[:, 1]]
    shared = Dataset()
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [turn]
    dataset.SharedFunctionalGroupsSequence = [shared]
    groups = []
    for place in order:
        position, content, scale, group = Dataset(), Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = [*(np.array(origin) + axes[:, 2] * spacing[2] * place)]
        content.DimensionIndexValues = [place + 1]
        content.InStackPositionNumber, content.StackID = place + 1, "1"
        scale.RescaleSlope = 1 if slopes is None else slopes[place]
        scale.RescaleIntercept = 0 if intercepts is None else intercepts[place]
        scale.RescaleType = "HU" if modality == "CT" else "US"
        group.PlanePositionSequence, group.FrameContentSequence = [position], [content]
        group.PixelValueTransformationSequence = [scale]
        groups.append(group)
    dataset.PerFrameFunctionalGroupsSequence = groups
    organization, index = Dataset(), Dataset()
    organization.DimensionOrganizationUID = generate_uid()
    index.DimensionOrganizationUID = organization.DimensionOrganizationUID
    index.DimensionIndexPointer, index.FunctionalGroupPointer = 0x00209057, 0x00209111
    dataset.DimensionOrganizationSequence, dataset.DimensionIndexSequence = [organization], [index]
    dataset.PixelData = array[order].astype("<u2").tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return dataset
