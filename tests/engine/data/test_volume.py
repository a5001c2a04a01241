from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from lunet_cli.engine.data.reading import read_image, read_label
from lunet_cli.engine.data.volume import Geometry, has_volume_suffix, stem
from lunet_cli.errors import DataError

ARRAY = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
SPACING = (0.7, 0.8, 2.5)
ORIGIN = (-10.5, 20.25, 30.0)
# 30 degrees about z, then 40 about x: no axis of the image lies along an axis of the patient.
_C30, _S30, _C40, _S40 = 0.8660254038, 0.5, 0.7660444431, 0.6427876097
OBLIQUE = (_C30, -_S30, 0.0, _S30 * _C40, _C30 * _C40, -_S40, _S30 * _S40, _C30 * _S40, _C40)
SINGLE_FILE = (".nii", ".nii.gz", ".nrrd", ".mha", ".mhd", ".nhdr")


def _voxels(image: sitk.Image) -> np.ndarray[Any, Any]:
    return sitk.GetArrayFromImage(image)


def _message(read: Callable[..., object], argument: object) -> str:
    with pytest.raises(DataError) as caught:
        read(argument)
    assert "\n" not in caught.value.message
    return caught.value.message


def _largest_file(folder: Path) -> Path:
    return max(folder.iterdir(), key=lambda path: path.stat().st_size)


def _noise(seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).normal(size=(24, 40, 32)).astype(np.float32)


@pytest.mark.parametrize("suffix", SINGLE_FILE)
def test_every_format_keeps_values_and_oblique_geometry(suffix: str, tmp_path: Path, write_volume: Any) -> None:
    path = write_volume(tmp_path / f"a{suffix}", ARRAY, spacing=SPACING, origin=ORIGIN, direction=OBLIQUE)
    (image,) = read_image([path])
    assert image.GetPixelID() in (sitk.sitkInt16, sitk.sitkFloat32)
    np.testing.assert_array_equal(_voxels(image), ARRAY)
    geometry = Geometry.of(image)
    assert geometry.size == (4, 5, 6)
    assert geometry.spacing_mm == pytest.approx((2.5, 0.8, 0.7), abs=1e-6)
    assert geometry.origin_mm == pytest.approx(ORIGIN, abs=1e-5)
    assert geometry.direction == pytest.approx(OBLIQUE, abs=1e-5)


def test_dicom_series_is_ordered_by_position(tmp_path: Path, write_series: Any) -> None:
    folder = write_series(tmp_path / "ct", ARRAY, spacing=SPACING, origin=ORIGIN, direction=OBLIQUE)
    (image,) = read_image([folder])
    np.testing.assert_array_equal(_voxels(image), ARRAY)
    geometry = Geometry.of(image)
    assert geometry.spacing_mm == pytest.approx((2.5, 0.8, 0.7), abs=1e-5)
    assert geometry.origin_mm == pytest.approx(ORIGIN, abs=1e-5)
    assert geometry.direction == pytest.approx(OBLIQUE, abs=1e-5)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_four_dimensional_file_gives_a_channel_per_volume(suffix: str, tmp_path: Path) -> None:
    parts = [sitk.GetImageFromArray(ARRAY + shift) for shift in (0, 1000)]
    for part in parts:
        part.SetSpacing(SPACING)
        part.SetOrigin(ORIGIN)
        part.SetDirection(OBLIQUE)
    sitk.WriteImage(sitk.JoinSeries(parts), str(tmp_path / f"a{suffix}"))
    channels = read_image([tmp_path / f"a{suffix}"])
    assert len(channels) == 2
    np.testing.assert_array_equal(_voxels(channels[0]), ARRAY)
    np.testing.assert_array_equal(_voxels(channels[1]), ARRAY + 1000)
    assert channels[1].GetSpacing() == pytest.approx(SPACING, abs=1e-6)
    assert channels[1].GetOrigin() == pytest.approx(ORIGIN, abs=1e-5)
    assert channels[1].GetDirection() == pytest.approx(OBLIQUE, abs=1e-5)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_vector_image_gives_a_channel_per_component(suffix: str, tmp_path: Path) -> None:
    parts = [sitk.GetImageFromArray((ARRAY + shift).astype(np.float32)) for shift in (0, 1000, 2000)]
    sitk.WriteImage(sitk.Compose(parts), str(tmp_path / f"a{suffix}"))
    channels = read_image([tmp_path / f"a{suffix}"])
    assert [float(_voxels(channel)[0, 0, 1]) for channel in channels] == [1, 1001, 2001]
    assert {channel.GetSize() for channel in channels} == {(6, 5, 4)}


def test_channel_files_keep_their_order(tmp_path: Path, write_volume: Any, write_series: Any) -> None:
    paths = [write_volume(tmp_path / "b.nrrd", ARRAY + 7), write_series(tmp_path / "a", ARRAY)]
    assert [float(_voxels(channel)[0, 0, 0]) for channel in read_image(paths)] == [7, 0]


def test_stored_slope_and_offset_are_applied(tmp_path: Path, write_volume: Any) -> None:
    path = write_volume(tmp_path / "a.nii", ARRAY)
    content = bytearray(path.read_bytes())
    content[112:120] = struct.pack("<2f", 0.5, 3.0)  # scl_slope, scl_inter
    path.write_bytes(content)
    (image,) = read_image([path])
    assert float(_voxels(image)[0, 0, 5]) == 5.5


def test_uncompressed_file_with_a_gz_name_is_read(tmp_path: Path, write_volume: Any) -> None:
    path = write_volume(tmp_path / "a.nii", ARRAY).rename(tmp_path / "b.nii.gz")
    np.testing.assert_array_equal(_voxels(read_image([path])[0]), ARRAY)


def test_missing_file_is_named(tmp_path: Path) -> None:
    assert str(tmp_path / "none.nii.gz") in _message(read_image, [tmp_path / "none.nii.gz"])


@pytest.mark.parametrize("missing", [1, 9, 0.01, 0.5])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha", ".mhd", ".nhdr"])
def test_truncated_image_is_refused(suffix: str, missing: float, tmp_path: Path, write_volume: Any) -> None:
    path = write_volume(tmp_path / f"cut{suffix}", _noise())
    data = _largest_file(tmp_path)
    content = data.read_bytes()
    data.write_bytes(content[: len(content) - round(missing if missing >= 1 else missing * len(content))])
    message = _message(read_image, [path])
    assert str(path) in message
    assert "incomplete" in message
    assert "No such file" not in message


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".mhd", ".nhdr"])
def test_truncated_compressed_image_is_refused(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"cut{suffix}"
    sitk.WriteImage(sitk.GetImageFromArray(_noise()), str(path), useCompression=True)
    data = _largest_file(tmp_path)
    data.write_bytes(data.read_bytes()[: data.stat().st_size // 2])
    assert str(path) in _message(read_image, [path])


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_truncated_label_is_refused(suffix: str, tmp_path: Path, write_volume: Any) -> None:
    path = write_volume(tmp_path / f"cut{suffix}", (_noise() > 1).astype(np.uint8))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert str(path) in _message(read_label, path)


def test_damage_inside_a_gzip_stream_is_refused(tmp_path: Path, write_volume: Any) -> None:
    path = write_volume(tmp_path / "flipped.nii.gz", (_noise() > 1).astype(np.uint8))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x55
    path.write_bytes(content)
    assert "flipped.nii.gz" in _message(read_label, path)


def test_missing_data_file_of_a_header_is_refused(tmp_path: Path, write_volume: Any) -> None:
    path = write_volume(tmp_path / "a.mhd", ARRAY)
    (tmp_path / "a.raw").unlink()
    expected = f"{path}: its data file {tmp_path / 'a.raw'}: there is no such file or folder"
    assert _message(read_image, [path]) == expected


@pytest.mark.parametrize("content", [b"hello world\n" * 40, b""])
@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_text_or_nothing_is_no_image(suffix: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"text{suffix}"
    path.write_bytes(content)
    assert _message(read_image, [path]) == f"{path}: cannot be read: it is no image, or its format is unknown"


@pytest.mark.parametrize("suffix", [".nii.gz", ".mha"])
def test_two_dimensional_image_is_refused(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"flat{suffix}"
    sitk.WriteImage(sitk.GetImageFromArray(ARRAY[0]), str(path))
    message = _message(read_image, [path])
    assert str(path) in message
    assert "2 dimensions (6 x 5)" in message


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("ending", ["nrrd", "mha", "nii", "nii.gz"])
@pytest.mark.parametrize("number", [np.float32, np.float64])
def test_voxels_that_are_not_finite_are_counted(
    value: float, ending: str, number: type, tmp_path: Path, write_volume: Any
) -> None:
    array = ARRAY.astype(number)
    array[1, 2, 3] = array[0, 0, 0] = value
    path = write_volume(tmp_path / f"nan.{ending}", array)
    assert _message(read_image, [path]) == f"{path}: 2 of 120 voxels are NaN or infinite"


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"spacing": (1.0, 1.0, 1.1)}, "spacing (z, y, x) (1, 1, 1) against (1.1, 1, 1)"),
        ({"origin": (0.0, 0.0, 0.5)}, "origin (x, y, z) (0, 0, 0) against (0, 0, 0.5)"),
        ({"direction": OBLIQUE}, "direction"),
    ],
)
def test_channels_of_different_grids_are_refused(
    change: dict[str, Any], word: str, tmp_path: Path, write_volume: Any
) -> None:
    paths = [write_volume(tmp_path / "a.nrrd", ARRAY), write_volume(tmp_path / "b.nrrd", ARRAY, **change)]
    message = _message(read_image, paths)
    assert str(paths[1]) in message
    assert word in message


def test_channels_of_different_sizes_are_refused(tmp_path: Path, write_volume: Any) -> None:
    paths = [write_volume(tmp_path / "a.nrrd", ARRAY), write_volume(tmp_path / "b.nrrd", ARRAY[:3])]
    assert "size (z, y, x) (4, 5, 6) against (3, 5, 6)" in _message(read_image, paths)


def test_axes_that_are_not_at_right_angles_are_explained(tmp_path: Path, write_volume: Any) -> None:
    path = write_volume(tmp_path / "sheared.nii", ARRAY)
    content = bytearray(path.read_bytes())
    content[252:256] = struct.pack("<2h", 0, 1)  # qform_code, sform_code
    content[280:328] = struct.pack("<12f", 1, 0.5, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0)  # srow_x, srow_y, srow_z
    path.write_bytes(content)
    message = _message(read_image, [path])
    assert str(path) in message
    assert "right angles" in message


def test_folder_without_dicom_is_refused(tmp_path: Path) -> None:
    (tmp_path / "scan").mkdir()
    (tmp_path / "scan" / "notes.txt").write_text("nothing")
    assert _message(read_image, [tmp_path / "scan"]) == f"{tmp_path / 'scan'}: holds no DICOM series"


def test_folder_with_two_series_is_refused(tmp_path: Path, write_series: Any) -> None:
    write_series(tmp_path / "scan", ARRAY, uid="1.2.3.4")
    write_series(tmp_path / "scan", ARRAY, uid="1.2.3.5")
    message = _message(read_image, [tmp_path / "scan"])
    assert str(tmp_path / "scan") in message
    assert "2 DICOM series (number 1: CT, 4 files, UID 1.2.3.4; number 1: CT, 4 files, UID 1.2.3.5)" in message


def test_series_with_a_missing_slice_is_refused(tmp_path: Path, write_series: Any) -> None:
    folder = write_series(tmp_path / "scan", ARRAY, spacing=SPACING)
    sorted(folder.iterdir())[1].unlink()
    message = _message(read_image, [folder])
    assert str(folder) in message
    assert "3 slices of its DICOM series lie 2.5 to 5 mm apart" in message


def test_label_keeps_values_and_geometry(tmp_path: Path, write_volume: Any) -> None:
    path = write_volume(tmp_path / "a.nii.gz", ARRAY.astype(np.float32), spacing=SPACING, origin=ORIGIN)
    label = read_label(path)
    assert label.GetPixelID() == sitk.sitkUInt16
    np.testing.assert_array_equal(_voxels(label), ARRAY)
    assert Geometry.of(label).spacing_mm == pytest.approx((2.5, 0.8, 0.7), abs=1e-6)


@pytest.mark.parametrize(
    ("value", "dtype", "words"),
    [
        (0.5, np.float32, "with fractions"),
        (np.nan, np.float32, "whole numbers"),
        (-1, np.int16, "found -1 to 119"),
        (65536, np.int32, "found 1 to 65536"),
    ],
)
def test_values_that_are_no_labels_are_refused(
    value: float, dtype: type[np.generic], words: str, tmp_path: Path, write_volume: Any
) -> None:
    array = ARRAY.astype(dtype)
    array[0, 0, 0] = value
    path = write_volume(tmp_path / "label.nrrd", array)
    message = _message(read_label, path)
    assert str(path) in message
    assert words in message


def test_label_with_channels_is_refused(tmp_path: Path) -> None:
    parts = [sitk.GetImageFromArray(ARRAY)] * 2
    for name, image in (("four.nii.gz", sitk.JoinSeries(parts)), ("vector.nrrd", sitk.Compose(parts))):
        sitk.WriteImage(image, str(tmp_path / name))
        assert str(tmp_path / name) in _message(read_label, tmp_path / name)


def test_differences_below_the_tolerance_are_none() -> None:
    mine = Geometry((2, 3, 4), (1.0, 1.0, 2.0), (0.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    near = Geometry((2, 3, 4), (1.0005, 1.0, 2.0), (0.005, 0.0, 0.0), (1, 0.0005, 0, 0, 1, 0, 0, 0, 1))
    far = Geometry((2, 3, 4), (1.002, 1.0, 2.0), (0.02, 0.0, 0.0), (1, 0.002, 0, 0, 1, 0, 0, 0, 1))
    assert mine.differences(near) == []
    assert [words.split()[0] for words in mine.differences(far)] == ["spacing", "origin", "direction"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.b.nii.gz", "a.b"), ("A.NII.GZ", "A"), ("a.nrrd", "a"), ("a.gz", "a.gz"), ("folder", "folder")],
)
def test_stem_drops_volume_suffixes_only(name: str, expected: str) -> None:
    assert stem(Path(name)) == expected
    assert has_volume_suffix(Path(name)) is (expected != name)
