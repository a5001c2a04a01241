"""DICOM against hand arithmetic, ITK, and highdicom."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813

from lunet_cli.engine.data.reading import read_header, read_image
from lunet_cli.engine.data.volume import Geometry

ARRAY = np.random.default_rng(0).integers(0, 2000, (5, 6, 7)).astype(np.int16)
SPACING = (0.7, 0.8, 2.5)
ORIGIN = (-10.5, 20.25, 30.0)
# 30 degrees about z, then 40 about x: no axis of the image lies along an axis of the patient.
_C30, _S30, _C40, _S40 = 0.8660254038, 0.5, 0.7660444431, 0.6427876097
OBLIQUE = (_C30, -_S30, 0.0, _S30 * _C40, _C30 * _C40, -_S40, _S30 * _S40, _C30 * _S40, _C40)


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
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), sitk.GetArrayFromImage(expected))
    assert Geometry.of(image).differences(Geometry.of(expected)) == []
    assert image.GetOrigin() == pytest.approx(expected.GetOrigin(), abs=1e-6)
    assert read_header(folder)[0] == Geometry.of(image)


def test_enhanced_image_in_a_folder_and_in_parts(
    tmp_path: Path, remarks_on: Any, write_enhanced: Any
) -> None:
    whole = write_enhanced(tmp_path / "one/a.dcm", ARRAY)
    (image,) = read_image([tmp_path / "one"])
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), ARRAY)
    for name, first, last in (("a", 0, 2), ("b", 2, 5)):
        origin = np.array(ORIGIN) + np.array(OBLIQUE).reshape(3, 3)[:, 2] * 2.5 * first
        part = write_enhanced(
            tmp_path / f"two/{name}.dcm", ARRAY[first:last], origin=tuple(origin.tolist())
        )
        part.SeriesInstanceUID = whole.SeriesInstanceUID
        part.InConcatenationTotalNumber = 3
        part.save_as(tmp_path / f"two/{name}.dcm")
    (image,) = read_image([tmp_path / "two"])
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), ARRAY)
    assert remarks_on(tmp_path / "two") == [
        "may be incomplete: its headers count 3 files, but only 2 are here"
    ]


def test_missing_slices(
    series: Path,
    tmp_path: Path,
    write_series: Any,
    refusal: Any,
    remarks_on: Any,
    change_slices: Any,
) -> None:
    names = sorted(series.iterdir(), reverse=True)
    names[2].unlink()
    assert "4 slices of its DICOM series lie 2.5 to 5 mm apart; 5 mm between" in refusal(
        read_image, [series]
    )
    names[0].unlink()
    names[1].unlink()
    assert remarks_on(series) == ["may be incomplete: its instance numbers begin at 4"]
    other = write_series(tmp_path / "other", ARRAY)
    for path in sorted(other.iterdir())[:2]:
        path.unlink()  # the end, which no distance and no number shows
    assert remarks_on(other) == []
    change_slices(other, lambda dataset, index: setattr(dataset, "ImagesInAcquisition", 5))
    assert remarks_on(other) == [
        "may be incomplete: its headers count 5 images, but only 3 are here"
    ]


def test_every_second_slice_is_told(series: Path, remarks_on: Any) -> None:
    names = sorted(series.iterdir(), reverse=True)
    for path in names[1::2]:
        path.unlink()
    assert remarks_on(series) == ["may be incomplete: 2 of its instance numbers 1 to 5 are missing"]


def test_damaged_slice_is_told_even_at_the_end(series: Path, refusal: Any) -> None:
    path = sorted(series.iterdir())[0]
    path.write_bytes(path.read_bytes()[:140])
    assert f"{path}: cannot be read" in refusal(read_image, [series])


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
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read_image([series])[0]), ARRAY)


def test_dicom_series_is_ordered_by_position(tmp_path: Path, write_series: Any) -> None:
    folder = write_series(tmp_path / "ct", ARRAY, spacing=SPACING, origin=ORIGIN, direction=OBLIQUE)
    (image,) = read_image([folder])
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), ARRAY)
    geometry = Geometry.of(image)
    assert geometry.spacing_mm == pytest.approx((2.5, 0.8, 0.7), abs=1e-5)
    assert geometry.origin_mm == pytest.approx(ORIGIN, abs=1e-5)
    assert geometry.direction == pytest.approx(OBLIQUE, abs=1e-5)


def test_folder_without_dicom_is_refused(tmp_path: Path, refusal: Any) -> None:
    (tmp_path / "scan").mkdir()
    (tmp_path / "scan" / "notes.txt").write_text("nothing")
    assert refusal(read_image, [tmp_path / "scan"]) == f"{tmp_path / 'scan'}: holds no DICOM series"


def test_folder_with_two_series_is_refused(tmp_path: Path, write_series: Any, refusal: Any) -> None:
    write_series(tmp_path / "scan", ARRAY, uid="1.2.3.4")
    write_series(tmp_path / "scan", ARRAY, uid="1.2.3.5")
    message = refusal(read_image, [tmp_path / "scan"])
    assert str(tmp_path / "scan") in message
    assert (
        "2 DICOM series (number 1: CT, 5 files, UID 1.2.3.4; number 1: CT, 5 files, UID 1.2.3.5)"
        in message
    )


def test_series_with_a_missing_slice_is_refused(
    tmp_path: Path, write_series: Any, refusal: Any
) -> None:
    folder = write_series(tmp_path / "scan", ARRAY, spacing=SPACING)
    sorted(folder.iterdir())[1].unlink()
    message = refusal(read_image, [folder])
    assert str(folder) in message
    assert "4 slices of its DICOM series lie 2.5 to 5 mm apart" in message
