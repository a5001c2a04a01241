"""What the tests of the engine share: one thread, and writing volumes and DICOM."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import torch
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
ENHANCED = {"CT": "1.2.840.10008.5.1.4.1.1.2.1", "MR": "1.2.840.10008.5.1.4.1.1.4.1"}
SPACING = (0.7, 0.8, 2.5)
ORIGIN = (-10.5, 20.25, 30.0)
# 30 degrees about z, then 40 about x: no axis of the image lies along an axis of the patient.
_C30, _S30, _C40, _S40 = 0.8660254038, 0.5, 0.7660444431, 0.6427876097
OBLIQUE = (_C30, -_S30, 0.0, _S30 * _C40, _C30 * _C40, -_S40, _S30 * _S40, _C30 * _S40, _C40)


class WriteVolume(Protocol):
    def __call__(
        self,
        path: Path,
        array: np.ndarray[Any, Any],
        *,
        spacing: tuple[float, ...] = ...,
        origin: tuple[float, ...] = ...,
        direction: tuple[float, ...] = ...,
    ) -> Path: ...


class WriteSeries(Protocol):
    def __call__(
        self,
        folder: Path,
        array: np.ndarray[Any, Any],
        *,
        spacing: tuple[float, ...] = ...,
        origin: tuple[float, ...] = ...,
        direction: tuple[float, ...] = ...,
        uid: str = ...,
        number: int = ...,
        description: str = ...,
    ) -> Path: ...


def _image(array: np.ndarray[Any, Any], spacing: Any, origin: Any, direction: Any) -> sitk.Image:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    image.SetDirection(direction)
    return image


@pytest.fixture(scope="session")
def write_volume() -> WriteVolume:
    """Write an array (z, y, x) to a file; spacing and origin are in x, y, z."""

    def write(
        path: Path,
        array: np.ndarray[Any, Any],
        *,
        spacing: tuple[float, ...] = (1.0, 1.0, 1.0),
        origin: tuple[float, ...] = (0.0, 0.0, 0.0),
        direction: tuple[float, ...] = IDENTITY,
    ) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        sitk.WriteImage(
            _image(array, spacing, origin, direction),
            str(path),
            useCompression=path.suffix == ".gz",
        )
        return path

    return write


@pytest.fixture(scope="session")
def write_series() -> WriteSeries:
    """Write an int16 array (z, y, x) as a DICOM series, names in the reverse order."""

    def write(
        folder: Path,
        array: np.ndarray[Any, Any],
        *,
        spacing: tuple[float, ...] = (1.0, 1.0, 1.0),
        origin: tuple[float, ...] = (0.0, 0.0, 0.0),
        direction: tuple[float, ...] = IDENTITY,
        uid: str = "1.2.826.0.1.1",
        number: int = 1,
        description: str = "",
    ) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        image = _image(array.astype(np.int16), spacing, origin, direction)
        axes = np.array(direction).reshape(3, 3)
        writer = sitk.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        for k in range(len(array)):
            position = np.array(origin) + axes[:, 2] * spacing[2] * k
            tags = {
                "0008|0018": f"{uid}.{k + 1}",
                "0008|0060": "CT",
                "0008|103e": description,
                "0018|0050": str(spacing[2]),
                "0020|000d": "1.2.826.0.1",
                "0020|000e": uid,
                "0020|0011": str(number),
                "0020|0013": str(k + 1),
                "0020|0052": f"{uid}.0",
                "0020|0032": "\\".join(f"{value:.8f}" for value in position),
                "0020|0037": "\\".join(f"{value:.8f}" for value in [*axes[:, 0], *axes[:, 1]]),
            }
            part = image[:, :, k]
            for tag, value in tags.items():
                part.SetMetaData(tag, value)
            writer.SetFileName(str(folder / f"{uid}-{len(array) - k:03d}.dcm"))
            writer.Execute(part)
        return folder

    return write


@pytest.fixture(autouse=True, scope="module")
def single_thread() -> Iterator[None]:
    """Tiny tensors gain nothing from more threads, and lose much on a busy machine."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
def write_seg() -> Callable[..., Path]:
    """Write a DICOM segmentation of a series: segment numbers, or masks of segments."""

    def write(series: Path, path: Path, pixels: np.ndarray[Any, Any], *names: str) -> Path:
        pytest.importorskip("highdicom")
        from lunet_cli.engine.data.dicom import choose_series
        from lunet_cli.engine.data.dicom_seg_writing import Maker, SegmentFacts, SegSeries
        from lunet_cli.engine.data.dicom_source import open_source
        from lunet_cli.engine.data.label_meanings import meanings_of

        facts = []
        for number, name in enumerate(names, start=1):
            meaning = meanings_of((name,), {})[name]
            facts.append(SegmentFacts(number=number, label=name, meaning=meaning))
        maker = Maker(network="n", version="1", serial="1", parameters={"window": "16"})
        path.parent.mkdir(parents=True, exist_ok=True)
        made = SegSeries(open_source(choose_series(series)), maker, generate_uid())
        made.write(pixels, facts, path, kind="BINARY", number=1)
        return path

    return write
