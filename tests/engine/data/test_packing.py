from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from lunet_cli.engine.data.packing import PlaneFile
from lunet_cli.engine.data.reading import read_image
from lunet_cli.engine.data.volume import Geometry

GEOMETRY = Geometry(
    size=(5, 3, 4),
    spacing_mm=(2.5, 0.8, 0.7),
    origin_mm=(-10.0, 20.0, 30.25),
    direction=(0.0, -1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0),
)


def image_of(array: np.ndarray) -> sitk.Image:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(GEOMETRY.spacing_mm[::-1])
    image.SetOrigin(GEOMETRY.origin_mm)
    image.SetDirection(GEOMETRY.direction)
    return image


def write(path: Path, array: np.ndarray) -> Path:
    file = PlaneFile(path, GEOMETRY, array.dtype)
    for planes in (array[:1], array[1:4], array[4:]):
        file.write(planes)
    file.finish()
    return path


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize("number", ["u1", "i2", "u2", "i8", "f4", "f8"])
def test_itk_reads_what_it_would_have_written(suffix: str, number: str, tmp_path: Path) -> None:
    array = np.arange(60).reshape(GEOMETRY.size).astype(number)
    path = write(tmp_path / f"ours{suffix}", array)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    found = sitk.ReadImage(str(path))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(found), array)
    sitk.WriteImage(image_of(array), str(tmp_path / f"theirs{suffix}"), useCompression=True)
    expected = sitk.ReadImage(str(tmp_path / f"theirs{suffix}"))
    assert found.GetPixelID() == expected.GetPixelID()
    assert Geometry.of(found) == Geometry.of(expected)
    assert set(found.GetMetaDataKeys()) == set(expected.GetMetaDataKeys())


def test_names_in_capital_letters(tmp_path: Path) -> None:
    array = np.arange(60).reshape(GEOMETRY.size).astype(np.uint8)
    path = write(tmp_path / "A.NII.GZ", array)
    assert [file.name for file in tmp_path.iterdir()] == ["A.NII.GZ"]
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read_image([path])[0]), array)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_nifti_is_that_of_itk_byte_for_byte(suffix: str, tmp_path: Path) -> None:
    array = np.arange(60).reshape(GEOMETRY.size).astype(np.uint8)
    ours = write(tmp_path / f"ours{suffix}", array).read_bytes()
    theirs = tmp_path / f"theirs{suffix}"
    sitk.WriteImage(image_of(array), str(theirs))
    expected = theirs.read_bytes()
    if suffix == ".nii.gz":
        ours, expected = gzip.decompress(ours), gzip.decompress(expected)
    assert ours == expected


def test_nifti_has_no_room_for_so_many_planes(tmp_path: Path) -> None:
    geometry = Geometry((32768, 1, 1), (1.0,) * 3, (0.0,) * 3, GEOMETRY.direction)
    with pytest.raises(OSError, match="NIfTI has room for 32,767 planes, not for 32,768"):
        PlaneFile(tmp_path / "a.nii", geometry, np.dtype(np.uint8))
