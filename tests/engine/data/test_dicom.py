"""DICOM against hand arithmetic, ITK, and highdicom."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, JPEGLSLossless, RLELossless, generate_uid

from lunet_cli.engine.data.reading import read_header, read_image
from lunet_cli.engine.data.volume import Geometry
from lunet_cli.errors import DataError

ENHANCED = {"CT": "1.2.840.10008.5.1.4.1.1.2.1", "MR": "1.2.840.10008.5.1.4.1.1.4.1"}
SPACING = (0.7, 0.8, 2.5)
ORIGIN = (-10.5, 20.25, 30.0)
# 30 degrees about z, then 40 about x.
_C30, _S30, _C40, _S40 = 0.8660254038, 0.5, 0.7660444431, 0.6427876097
OBLIQUE = (_C30, -_S30, 0.0, _S30 * _C40, _C30 * _C40, -_S40, _S30 * _S40, _C30 * _S40, _C40)
ARRAY = np.random.default_rng(0).integers(0, 2000, (5, 6, 7)).astype(np.int16)


def _voxels(image: sitk.Image) -> np.ndarray[Any, Any]:
    return sitk.GetArrayFromImage(image)


def _message(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_image([path])
    assert "\n" not in caught.value.message
    return caught.value.message


def _remarks(path: Path) -> list[str]:
    remarks: list[str] = []
    read_image([path], on_remark=remarks.append)
    return remarks


def _change(folder: Path, change: Callable[[Dataset, int], None]) -> None:
    """Change each slice of a series in the order of positions."""
    for index, path in enumerate(sorted(folder.iterdir(), reverse=True)):
        dataset = pydicom.dcmread(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            change(dataset, index)
            dataset.save_as(path)


@pytest.fixture
def series(tmp_path: Path, write_series: Any) -> Path:
    return write_series(tmp_path / "ct", ARRAY, spacing=SPACING, origin=ORIGIN, direction=OBLIQUE)


def write_enhanced(
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
    """Write an enhanced image of uint16 frames, which lie in the file in the order `order` of their slices."""
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


@pytest.mark.parametrize(
    "direction", [OBLIQUE, (1.0, 0, 0, 0, 1, 0, 0, 0, 1), (0.0, 0, 1, 1, 0, 0, 0, 1, 0)]
)
def test_series_is_read_as_itk_reads_it(
    direction: tuple[float, ...], tmp_path: Path, write_series: Any
) -> None:
    folder = write_series(
        tmp_path / "ct", ARRAY, spacing=SPACING, origin=ORIGIN, direction=direction
    )
    (image,) = read_image([folder])
    expected = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))
    np.testing.assert_array_equal(_voxels(image), _voxels(expected))
    assert Geometry.of(image).differences(Geometry.of(expected)) == []
    assert image.GetOrigin() == pytest.approx(expected.GetOrigin(), abs=1e-6)
    assert read_header(folder)[0] == Geometry.of(image)


@pytest.mark.parametrize(("slope", "intercept"), [(1, -1024), (2, 3), (0.5, -10.25), (1, 60_000)])
def test_rescale_of_each_slice(slope: float, intercept: float, series: Path) -> None:
    def change(dataset: Dataset, index: int) -> None:
        dataset.RescaleSlope, dataset.RescaleIntercept = slope * (index + 1), intercept

    _change(series, change)
    (image,) = read_image([series])
    factors = slope * np.arange(1, 6)[:, None, None]
    np.testing.assert_allclose(_voxels(image), ARRAY * factors + intercept, rtol=1e-6)


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_enhanced_image_is_read_as_highdicom_reads_it(modality: str, tmp_path: Path) -> None:
    highdicom = pytest.importorskip("highdicom")
    slopes, intercepts = [1.0, 2.0, 0.5, 3.0, 1.5], [0.0, -10.0, 5.0, 2.5, -1000.0]
    path = tmp_path / "enhanced.dcm"
    write_enhanced(
        path, ARRAY, modality=modality, order=[3, 0, 4, 2, 1], slopes=slopes, intercepts=intercepts
    )
    (image,) = read_image([path])
    by_hand = ARRAY * np.array(slopes)[:, None, None] + np.array(intercepts)[:, None, None]
    np.testing.assert_allclose(_voxels(image), by_hand, rtol=1e-6)
    geometry = Geometry.of(image)
    assert geometry.spacing_mm == pytest.approx((2.5, 0.8, 0.7), abs=1e-6)
    assert geometry.origin_mm == pytest.approx(ORIGIN, abs=1e-6)
    assert geometry.direction == pytest.approx(OBLIQUE, abs=1e-6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        volume = highdicom.imread(path).get_volume(
            apply_real_world_transform=False, apply_modality_transform=True
        )
    # highdicom's axes are slices, rows, columns, in either direction; both must place each value at
    # the same point.
    axes = np.array(geometry.direction).reshape(3, 3) * np.array(geometry.spacing_mm[::-1])
    ours = _voxels(image)
    for index in np.ndindex(*volume.array.shape):
        point = volume.affine @ [*index, 1]
        x, y, z = np.rint(np.linalg.solve(axes, point[:3] - geometry.origin_mm)).astype(int)
        assert ours[z, y, x] == pytest.approx(volume.array[index], rel=1e-6)


def test_enhanced_image_in_a_folder_and_in_parts(tmp_path: Path) -> None:
    whole = write_enhanced(tmp_path / "one/a.dcm", ARRAY)
    (image,) = read_image([tmp_path / "one"])
    np.testing.assert_array_equal(_voxels(image), ARRAY)
    for name, first, last in (("a", 0, 2), ("b", 2, 5)):
        origin = np.array(ORIGIN) + np.array(OBLIQUE).reshape(3, 3)[:, 2] * 2.5 * first
        part = write_enhanced(
            tmp_path / f"two/{name}.dcm", ARRAY[first:last], origin=tuple(origin.tolist())
        )
        part.SeriesInstanceUID = whole.SeriesInstanceUID
        part.InConcatenationTotalNumber = 3
        part.save_as(tmp_path / f"two/{name}.dcm")
    (image,) = read_image([tmp_path / "two"])
    np.testing.assert_array_equal(_voxels(image), ARRAY)
    assert _remarks(tmp_path / "two") == [
        f"{tmp_path / 'two'}: may be incomplete: its headers tell of 3 files, and 2 are here"
    ]


@pytest.mark.parametrize("syntax", [JPEGLSLossless, RLELossless])
def test_compressed_pixels(syntax: str, series: Path, tmp_path: Path) -> None:
    def compress(dataset: Dataset, index: int) -> None:
        dataset.RescaleSlope, dataset.RescaleIntercept = 2, -1000
        dataset.compress(syntax, generate_instance_uid=False)

    _change(series, compress)
    np.testing.assert_array_equal(
        _voxels(read_image([series])[0]), ARRAY.astype(np.int32) * 2 - 1000
    )
    dataset = write_enhanced(tmp_path / "e.dcm", ARRAY, order=[4, 3, 2, 1, 0])
    dataset.compress(syntax, generate_instance_uid=False)
    dataset.save_as(tmp_path / "e.dcm")
    np.testing.assert_array_equal(_voxels(read_image([tmp_path / "e.dcm"])[0]), ARRAY)


def test_bits_above_the_stored_ones_are_left_out(series: Path) -> None:
    def change(dataset: Dataset, index: int) -> None:
        stored = np.frombuffer(dataset.PixelData, "<u2") | 0x8000
        dataset.PixelData = stored.astype("<u2").tobytes()
        dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 12, 11, 0

    _change(series, change)
    np.testing.assert_array_equal(_voxels(read_image([series])[0]), ARRAY)


def test_tilted_gantry_is_refused_with_its_angle(series: Path) -> None:
    across = np.array(OBLIQUE).reshape(3, 3)[:, 1]

    def change(dataset: Dataset, index: int) -> None:
        position = np.array([float(value) for value in dataset.ImagePositionPatient])
        dataset.ImagePositionPatient = [f"{value:.8f}" for value in position + 0.4 * index * across]

    _change(series, change)
    # 0.4 mm sideways for 2.5 mm upwards: atan(0.16) = 9.09 degrees.
    expected = f"{series}: its slices are shifted by 0.4 mm each against the one below (a gantry tilted by 9.1 degrees)"
    assert _message(series).startswith(expected)


def test_slice_beside_the_stack_is_named(series: Path) -> None:
    def change(dataset: Dataset, index: int) -> None:
        if index == 2:
            position = np.array([float(value) for value in dataset.ImagePositionPatient])
            across = np.array(OBLIQUE).reshape(3, 3)[:, 0]
            dataset.ImagePositionPatient = [f"{value:.8f}" for value in position + 3 * across]

    _change(series, change)
    assert "-003.dcm lies 3 mm beside the stack of the others" in _message(series)


def test_missing_slices(series: Path, tmp_path: Path, write_series: Any) -> None:
    names = sorted(series.iterdir(), reverse=True)
    names[2].unlink()
    assert "4 slices of its DICOM series lie 2.5 to 5 mm apart; 5 mm between" in _message(series)
    names[0].unlink()
    names[1].unlink()
    assert _remarks(series) == [f"{series}: may be incomplete: its instance numbers begin at 4"]
    other = write_series(tmp_path / "other", ARRAY)
    for path in sorted(other.iterdir())[:2]:
        path.unlink()  # the end, which no distance and no number shows
    assert _remarks(other) == []
    _change(other, lambda dataset, index: setattr(dataset, "ImagesInAcquisition", 5))
    assert _remarks(other) == [
        f"{other}: may be incomplete: its headers tell of 5 images, and 3 are here"
    ]


def test_every_second_slice_is_told(series: Path) -> None:
    names = sorted(series.iterdir(), reverse=True)
    for path in names[1::2]:
        path.unlink()
    assert _remarks(series) == [
        f"{series}: may be incomplete: of its instance numbers 1 to 5, 2 are not here"
    ]


def test_duplicates_and_several_volumes(series: Path) -> None:
    first = sorted(series.iterdir())[0]
    shutil.copy(first, series / "copy.dcm")
    assert f"{first.name} and copy.dcm lie at the same place" in _message(series)
    (series / "copy.dcm").unlink()
    for path in list(series.iterdir()):
        shutil.copy(path, series / f"echo2-{path.name}")
    assert "holds 2 images at each of 5 places" in _message(series)


@pytest.mark.parametrize(
    ("keyword", "value", "words"),
    [
        ("ImagePositionPatient", None, "has no Image Position Patient"),
        ("ImageOrientationPatient", None, "has no Image Orientation Patient"),
        ("PixelSpacing", None, "has no Pixel Spacing"),
        ("PixelSpacing", ["0", "1"], "its Pixel Spacing is 0, 1"),
        ("PixelSpacing", ["-1", "1"], "its Pixel Spacing is -1, 1"),
        ("ImagePositionPatient", ["1", "2"], "not 3 numbers"),
        ("ImageOrientationPatient", ["1", "0", "0", "1", "0", "0"], "not two axes at right angles"),
        ("ImageOrientationPatient", ["0", "0", "0", "0", "1", "0"], "not two axes at right angles"),
        ("SamplesPerPixel", 3, "picture in colour"),
        ("SOPClassUID", "1.2.840.10008.5.1.4.1.1.7", "is a secondary capture"),
        ("BitsStored", 40, "it stores 40 of 16 bits"),
        ("NumberOfFrames", 4, "has 4 frames without a position of their own"),
        ("Rows", 60, "incomplete"),
    ],
)
def test_what_is_not_a_volume_is_refused(
    keyword: str, value: Any, words: str, series: Path
) -> None:
    def change(dataset: Dataset, index: int) -> None:
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)

    _change(series, change)
    assert words in _message(series)


@pytest.mark.parametrize("tag", [b"\x20\x00\x32\x00", b"\x28\x00\x30\x00", b"\x20\x00\x37\x00"])
def test_texts_where_numbers_should_be(tag: bytes, series: Path) -> None:
    for path in series.iterdir():
        content = bytearray(path.read_bytes())
        start = content.index(tag) + 8
        content[start : start + 4] = b"abcd"
        path.write_bytes(content)
    message = _message(series)
    assert "abcd" in message or "cannot be understood" in message


def test_damaged_slice_is_told_even_at_the_end(series: Path) -> None:
    path = sorted(series.iterdir())[0]
    path.write_bytes(path.read_bytes()[:140])
    assert f"{path}: cannot be read" in _message(series)


def test_truncated_pixels_are_refused(series: Path) -> None:
    path = sorted(series.iterdir())[0]
    path.write_bytes(path.read_bytes()[:-20])
    assert f"{path}: cannot be read: its pixels are damaged or incomplete" in _message(series)


def test_reports_and_directories_in_a_folder_are_passed_over(series: Path) -> None:
    report = pydicom.dcmread(sorted(series.iterdir())[0])
    for name in ("PixelData", "Rows", "Columns"):
        delattr(report, name)
    report.SeriesInstanceUID = "1.2.3"
    report.SOPClassUID = report.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.88.11"
    report.save_as(series / "report.dcm")
    report.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    report.SOPClassUID = "1.2.840.10008.1.3.10"
    report.save_as(series / "DICOMDIR")
    (series / "notes.txt").write_text("no image")
    np.testing.assert_array_equal(_voxels(read_image([series])[0]), ARRAY)


def test_single_slice(series: Path) -> None:
    keep, *others = sorted(series.iterdir())
    for path in others:
        path.unlink()
    assert read_header(series)[0].spacing_mm[0] == 2.5  # Slice Thickness
    _change(series, lambda dataset, index: delattr(dataset, "SliceThickness"))
    assert f"{series}: has one slice and does not say its thickness; taken as 1 mm" in _remarks(
        series
    )
    assert keep.is_file()
