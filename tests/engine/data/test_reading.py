from __future__ import annotations

import gzip
import os
import shutil
import struct
import sys
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from lunet_cli.engine.data import reading
from lunet_cli.engine.data.reading import read_header, read_image, read_label, stored_number_type
from lunet_cli.engine.data.volume import Geometry
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
def test_every_format_keeps_values_and_oblique_geometry(
    suffix: str, tmp_path: Path, write_volume: Any
) -> None:
    path = write_volume(
        tmp_path / f"a{suffix}", ARRAY, spacing=SPACING, origin=ORIGIN, direction=OBLIQUE
    )
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
    parts = [
        sitk.GetImageFromArray((ARRAY + shift).astype(np.float32)) for shift in (0, 1000, 2000)
    ]
    sitk.WriteImage(sitk.Compose(parts), str(tmp_path / f"a{suffix}"))
    channels = read_image([tmp_path / f"a{suffix}"])
    assert [float(_voxels(channel)[0, 0, 1]) for channel in channels] == [1, 1001, 2001]
    assert {channel.GetSize() for channel in channels} == {(6, 5, 4)}


def test_channel_files_keep_their_order(
    tmp_path: Path, write_volume: Any, write_series: Any
) -> None:
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
def test_truncated_image_is_refused(
    suffix: str, missing: float, tmp_path: Path, write_volume: Any
) -> None:
    path = write_volume(tmp_path / f"cut{suffix}", _noise())
    data = _largest_file(tmp_path)
    content = data.read_bytes()
    data.write_bytes(
        content[: len(content) - round(missing if missing >= 1 else missing * len(content))]
    )
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
    assert (
        _message(read_image, [path])
        == f"{path}: cannot be read: it is not an image, or its format is unknown"
    )


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
    paths = [
        write_volume(tmp_path / "a.nrrd", ARRAY),
        write_volume(tmp_path / "b.nrrd", ARRAY, **change),
    ]
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
    content[280:328] = struct.pack(
        "<12f", 1, 0.5, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0
    )  # srow_x, srow_y, srow_z
    path.write_bytes(content)
    message = _message(read_image, [path])
    assert str(path) in message
    assert "right angles" in message


def test_folder_without_dicom_is_refused(tmp_path: Path) -> None:
    (tmp_path / "scan").mkdir()
    (tmp_path / "scan" / "notes.txt").write_text("nothing")
    assert (
        _message(read_image, [tmp_path / "scan"]) == f"{tmp_path / 'scan'}: holds no DICOM series"
    )


def test_folder_with_two_series_is_refused(tmp_path: Path, write_series: Any) -> None:
    write_series(tmp_path / "scan", ARRAY, uid="1.2.3.4")
    write_series(tmp_path / "scan", ARRAY, uid="1.2.3.5")
    message = _message(read_image, [tmp_path / "scan"])
    assert str(tmp_path / "scan") in message
    assert (
        "2 DICOM series (number 1: CT, 4 files, UID 1.2.3.4; number 1: CT, 4 files, UID 1.2.3.5)"
        in message
    )


def test_series_with_a_missing_slice_is_refused(tmp_path: Path, write_series: Any) -> None:
    folder = write_series(tmp_path / "scan", ARRAY, spacing=SPACING)
    sorted(folder.iterdir())[1].unlink()
    message = _message(read_image, [folder])
    assert str(folder) in message
    assert "3 slices of its DICOM series lie 2.5 to 5 mm apart" in message


def test_label_keeps_values_and_geometry(tmp_path: Path, write_volume: Any) -> None:
    path = write_volume(
        tmp_path / "a.nii.gz", ARRAY.astype(np.float32), spacing=SPACING, origin=ORIGIN
    )
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
    for name, image in (
        ("four.nii.gz", sitk.JoinSeries(parts)),
        ("vector.nrrd", sitk.Compose(parts)),
    ):
        sitk.WriteImage(image, str(tmp_path / name))
        assert str(tmp_path / name) in _message(read_label, tmp_path / name)


def _remarks(path: Path) -> list[str]:
    remarks: list[str] = []
    read_image([path], on_remark=remarks.append)
    return [remark.removeprefix(f"{path}: ") for remark in remarks]


def _change(path: Path, **fields: tuple[str, int, tuple[float, ...]]) -> Path:
    """Write other values into a NIfTI header: format and first byte of each field."""
    content = bytearray(path.read_bytes())
    for kind, start, values in fields.values():
        struct.pack_into(kind, content, start, *values)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("number", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"])
@pytest.mark.parametrize("is_packed", [False, True])
@pytest.mark.parametrize("suffix", SINGLE_FILE)
def test_every_type_is_read_as_itk_reads_it(
    suffix: str, is_packed: bool, number: str, tmp_path: Path
) -> None:
    image = sitk.GetImageFromArray((_noise()[:3] * 50).astype(number))
    image.SetSpacing(SPACING)
    image.SetOrigin(ORIGIN)
    image.SetDirection(OBLIQUE)
    path = tmp_path / f"a{suffix}"
    sitk.WriteImage(image, str(path), useCompression=is_packed)
    (found,), expected = read_image([path]), sitk.ReadImage(str(path))
    np.testing.assert_array_equal(_voxels(found), _voxels(expected).astype(_voxels(found).dtype))
    assert found.GetSpacing() == expected.GetSpacing()
    assert found.GetOrigin() == expected.GetOrigin()
    np.testing.assert_allclose(found.GetDirection(), expected.GetDirection(), atol=1e-7)
    bits = 8 * int(number[1])
    kind = {"u": "unsigned integer", "i": "signed integer", "f": "float"}[number[0]]
    assert stored_number_type(path) == f"{bits}-bit {kind}"
    assert read_header(path) == (Geometry.of(found), 1)


@pytest.mark.real_data
def test_real_volumes_are_read_as_itk_reads_them(hippocampus: Path) -> None:
    files = sorted(
        path for path in hippocampus.parent.rglob("*") if path.name.endswith((".nii.gz", ".nrrd"))
    )
    assert len(files) > 20
    for path in files[::20]:
        expected = sitk.ReadImage(str(path))
        (found,) = read_image([path])
        np.testing.assert_array_equal(
            _voxels(found), _voxels(expected).astype(_voxels(found).dtype)
        )
        assert Geometry.of(found).differences(Geometry.of(expected)) == []
        assert found.GetSpacing() == expected.GetSpacing()


def test_big_endian_nifti(tmp_path: Path, write_volume: Any) -> None:
    path = write_volume(
        tmp_path / "a.nii", ARRAY, spacing=SPACING, origin=ORIGIN, direction=OBLIQUE
    )
    expected = read_image([path])[0]
    little = path.read_bytes()
    big = bytearray(little)
    for kind, start, count in (
        *(
            ("i", 0, 1),
            ("i", 32, 1),
            ("h", 36, 1),
            ("h", 40, 8),
            ("f", 56, 3),
            ("h", 68, 4),
            ("f", 76, 8),
        ),
        *(
            ("f", 108, 3),
            ("h", 120, 1),
            ("f", 124, 4),
            ("i", 140, 2),
            ("h", 252, 2),
            ("f", 256, 18),
        ),
    ):
        struct.pack_into(
            f">{count}{kind}", big, start, *struct.unpack_from(f"<{count}{kind}", little, start)
        )
    path.write_bytes(big[:352] + ARRAY.astype(">i2").tobytes())
    (found,) = read_image([path])
    np.testing.assert_array_equal(_voxels(found), ARRAY)
    assert Geometry.of(found) == Geometry.of(expected)
    np.testing.assert_array_equal(
        _voxels(sitk.ReadImage(str(path))), ARRAY
    )  # ITK agrees that this is the format.


def test_second_version_of_nifti(tmp_path: Path) -> None:
    header = bytearray(544)
    struct.pack_into("<i8s2h8q", header, 0, 540, b"n+2\0\r\n\x1a\n", 4, 16, 3, 6, 5, 4, 1, 1, 1, 1)
    struct.pack_into("<8dq", header, 104, 1, 0.7, 0.8, 2.5, 0, 0, 0, 0, 544)
    struct.pack_into("<2i", header, 344, 0, 1)
    struct.pack_into("<12d", header, 400, 0.7, 0, 0, 10, 0, 0.8, 0, 20, 0, 0, 2.5, 30)
    path = tmp_path / "a.nii"
    path.write_bytes(header + ARRAY.tobytes())
    (image,) = read_image([path])
    np.testing.assert_array_equal(_voxels(image), ARRAY)
    assert image.GetSpacing() == (0.7, 0.8, 2.5)
    assert image.GetOrigin() == (-10, -20, 30)  # from RAS to LPS


def test_sform_that_disagrees_with_pixdim_is_taken_and_told(
    tmp_path: Path, write_volume: Any
) -> None:
    path = write_volume(tmp_path / "a.nii", ARRAY, spacing=SPACING)
    _change(path, pixdim=("<3f", 80, (1.0, 1.0, 1.0)), qform=("<h", 252, (0,)))
    (image,) = read_image([path])
    assert image.GetSpacing() == pytest.approx(SPACING)
    assert _remarks(path) == [
        "its sform says a spacing of 0.7, 0.8, 2.5 mm (x, y, z), its pixdim 1, 1, 1; taken from the sform, as the "
        "standard asks, while other tools may take pixdim"
    ]


@pytest.mark.parametrize(
    ("code", "chosen", "x"), [(1, "sform", -105.0), (2, "qform", -5.0), (4, "qform", -5.0)]
)
def test_sform_and_qform_that_disagree(
    code: int, chosen: str, x: float, tmp_path: Path, write_volume: Any
) -> None:
    path = write_volume(tmp_path / "a.nii", ARRAY, origin=(-5.0, 0.0, 0.0))
    _change(path, code=("<2h", 252, (1, code)), srow=("<f", 292, (105.0,)))
    assert _remarks(path) == [
        f"its sform (code {code}) and its qform (code 1) place it differently; taken from the {chosen}"
    ]
    (image,) = read_image([path])
    assert image.GetOrigin()[0] == x
    assert sitk.ReadImage(str(path)).GetOrigin()[0] == x


def test_nifti_that_does_not_say_where_it_lies(tmp_path: Path, write_volume: Any) -> None:
    path = _change(
        write_volume(tmp_path / "a.nii", ARRAY, spacing=SPACING), codes=("<2h", 252, (0, 0))
    )
    assert _remarks(path) == [
        "does not say how its axes lie in the patient (neither sform nor qform); taken as left, posterior, superior"
    ]
    assert Geometry.of(read_image([path])[0]) == Geometry.of(sitk.ReadImage(str(path)))


def test_units_of_nifti(tmp_path: Path, write_volume: Any) -> None:
    path = write_volume(
        tmp_path / "a.nii", ARRAY, spacing=(0.5, 0.5, 0.5), origin=(10.0, 20.0, 30.0)
    )
    (image,) = read_image([_change(path, units=("<B", 123, (3,)))])
    assert image.GetSpacing() == pytest.approx((0.0005,) * 3)
    assert image.GetOrigin() == pytest.approx((0.01, 0.02, 0.03))
    assert _remarks(path) == ["has voxels of 0.0005 to 0.0005 mm; is their unit right?"]


def test_vectors_of_nifti_are_channels_whatever_their_intent(
    tmp_path: Path, write_volume: Any
) -> None:
    path = write_volume(tmp_path / "a.nii", ARRAY)
    content = bytearray(path.read_bytes() + (ARRAY + 500).tobytes())
    struct.pack_into("<6h", content, 40, 5, 6, 5, 4, 1, 2)
    for intent in (0, 1007):
        struct.pack_into("<h", content, 68, intent)
        path.write_bytes(content)
        assert [float(_voxels(channel)[0, 0, 1]) for channel in read_image([path])] == [1, 501]


def test_more_voxels_than_the_header_tells_of_are_refused(
    tmp_path: Path, write_volume: Any
) -> None:
    for suffix in (".nii", ".nii.gz", ".nrrd", ".mha"):
        path = write_volume(tmp_path / f"a{suffix}", ARRAY)
        content = path.read_bytes()
        is_packed = suffix == ".nii.gz"
        path.write_bytes(
            gzip.compress(gzip.decompress(content) + bytes(9)) if is_packed else content + bytes(9)
        )
        assert "its header tells of 240 bytes of voxels, and" in _message(read_image, [path])
        path.write_bytes(
            gzip.compress(gzip.decompress(content) + b"\n") if is_packed else content + b"\n"
        )
        np.testing.assert_array_equal(_voxels(read_image([path])[0]), ARRAY)


def test_bomb_takes_no_memory(
    tmp_path: Path, write_volume: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_volume(tmp_path / "a.nii", ARRAY)
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    zeros = (packer.compress(bytes(2**20)) for _ in range(64))
    (tmp_path / "bomb.nii.gz").write_bytes(
        packer.compress(path.read_bytes()) + b"".join(zeros) + packer.flush()
    )
    largest = 0
    decompressobj = zlib.decompressobj

    class Watched:
        def __init__(self, bits: int) -> None:
            self._unpacker = decompressobj(bits)

        def decompress(self, packed: bytes, most: int) -> bytes:
            nonlocal largest
            content = self._unpacker.decompress(packed, most)
            largest = max(largest, len(content))
            return content

        def __getattr__(self, name: str) -> object:
            return getattr(self._unpacker, name)

    monkeypatch.setattr(zlib, "decompressobj", Watched)
    assert "and more bytes follow" in _message(read_image, [tmp_path / "bomb.nii.gz"])
    assert largest < 1000


def test_sizes_that_no_file_could_hold_are_refused_at_once(
    tmp_path: Path, write_volume: Any
) -> None:
    path = _change(write_volume(tmp_path / "a.nii", ARRAY), dim=("<3h", 42, (32767, 32767, 32767)))
    packed = tmp_path / "b.nii.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    for one in (path, packed):
        assert "it is incomplete" in _message(read_image, [one])


def test_a_file_beside_of_the_same_name_is_not_mixed_in(tmp_path: Path, write_volume: Any) -> None:
    write_volume(tmp_path / "a.nii", ARRAY + 7)
    path = write_volume(tmp_path / "a.nii.gz", ARRAY)
    np.testing.assert_array_equal(
        _voxels(read_image([path])[0]), ARRAY
    )  # ITK takes the voxels of a.nii.


def _write_list(folder: Path, listed: list[str], write_volume: Any) -> Path:
    path = write_volume(folder / "a.mhd", ARRAY, spacing=SPACING)
    head = path.read_text().split("ElementDataFile")[0]
    for index, plane in enumerate(ARRAY):
        (folder / f"s{index}.raw").write_bytes(plane.tobytes())
    path.write_text(f"{head}ElementDataFile = {listed[0]}\n" + "\n".join(listed[1:]))
    return path


@pytest.mark.parametrize(
    "listed", [["LIST", "s0.raw", "s1.raw", "s2.raw", "s3.raw"], ["s%d.raw 0 3 1"]]
)
def test_slices_in_files_of_their_own(listed: list[str], tmp_path: Path, write_volume: Any) -> None:
    path = _write_list(tmp_path, listed, write_volume)
    np.testing.assert_array_equal(_voxels(read_image([path])[0]), ARRAY)
    np.testing.assert_array_equal(_voxels(sitk.ReadImage(str(path))), ARRAY)


@pytest.mark.parametrize(
    ("listed", "words"),
    [
        (["LIST"], "names 0 data files"),
        (["LIST", "s0.raw", "s1.raw"], "names 2 files, and its sizes ask for 4"),
        (["s%d.raw 0 9 1"], "names 10 files, and its sizes ask for 4"),
        (
            ["LIST", "s0.raw", "s1.raw", "s2.raw", "s9.raw"],
            "s9.raw: there is no such file or folder",
        ),
        (
            ["LIST", "s0.raw", "s1.raw", "s2.raw", "a.mhd"],
            "it is damaged or incomplete|and .* follow",
        ),
    ],
)
def test_lists_that_name_too_few_files_are_refused(
    listed: list[str], words: str, tmp_path: Path, write_volume: Any
) -> None:
    path = _write_list(tmp_path, listed, write_volume)
    with pytest.raises(DataError, match=words):
        read_image([path])


def test_nrrd_of_other_tools(tmp_path: Path) -> None:
    path = tmp_path / "a.nhdr"
    (tmp_path / "a.raw").write_bytes(b"one\ntwo\n" + bytes(5) + ARRAY.tobytes())
    head = [
        "NRRD0005",
        "# a comment",
        "type: int16",
        "dimension: 3",
        "sizes: 6 5 4",
        "endian: little",
    ]
    place = [
        "space: right-anterior-superior",
        "space directions: (2,0,0) (0,3,0) (0,0,4)",
        "space origin: (1,2,3)",
    ]
    data = ["encoding: raw", "line skip: 2", "byte skip: 5", "key:=value", "data file: a.raw"]
    path.write_text("\n".join([*head, *place, *data]))
    (image,) = read_image([path])
    np.testing.assert_array_equal(_voxels(image), ARRAY)
    assert image.GetSpacing() == (2, 3, 4)
    assert image.GetOrigin() == (-1, -2, 3)
    assert image.GetDirection() == (-1, 0, 0, 0, -1, 0, 0, 0, 1)
    data[1:3] = ["byte skip: -1"]
    path.write_text("\n".join([*head, *place, *data]))
    np.testing.assert_array_equal(_voxels(read_image([path])[0]), ARRAY)
    path.write_text("\n".join([*head, "spacings: 2 3 4", *data]))
    assert read_image([path])[0].GetSpacing() == (2, 3, 4)
    assert _remarks(path) == [
        "does not say how its axes lie in the patient; taken as left, posterior, superior"
    ]


def test_metaimage_that_does_not_say_its_spacing(tmp_path: Path, write_volume: Any) -> None:
    path = write_volume(tmp_path / "a.mha", ARRAY)
    path.write_bytes(path.read_bytes().replace(b"ElementSpacing", b"ElementSpacinG"))
    assert _remarks(path) == [
        "does not say its voxel spacing; taken as 1 mm, from 0, along the patient"
    ]


@pytest.mark.parametrize("name", ["a.vtk", "größe.vtk", os.fsdecode(b"\xff.vtk")])
def test_other_formats_are_read_by_itk_in_a_process_of_its_own(
    name: str, tmp_path: Path, write_volume: Any
) -> None:
    path = write_volume(tmp_path / "plain.vtk", ARRAY, spacing=SPACING, origin=ORIGIN).rename(
        tmp_path / name
    )
    (image,) = read_image([path])
    np.testing.assert_array_equal(_voxels(image), ARRAY)
    assert image.GetSpacing() == pytest.approx(SPACING)
    assert read_header(path) == (Geometry.of(image), 1)
    assert stored_number_type(path) == "16-bit signed integer"


def test_a_file_that_ends_the_process_of_itk_is_one_line(
    tmp_path: Path, write_volume: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_volume(tmp_path / "a.mha", ARRAY)
    path.write_bytes(path.read_bytes().replace(b"NDims = 3", b"NDims = 100"))
    assert _message(read_image, [path]) == f"{path}: cannot be read: 'NDims' is 100"
    other = path.rename(tmp_path / "a.vtk")
    assert "it is not an image, or its format is unknown" in _message(read_image, [other])
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    ended = f"{other}: cannot be read: it is damaged (the process that read it has ended)"
    assert _message(read_image, [other]) == ended


@pytest.mark.parametrize(
    "name",
    ["größe.nii.gz", "患者.nrrd", os.fsdecode(b"\xff\xfe.mha"), "a\nb.nii", "x" * 240 + ".mha"],
)
def test_names_that_itk_cannot_open(name: str, tmp_path: Path, write_volume: Any) -> None:
    suffix = name[name.index(".") :]
    path = write_volume(tmp_path / f"a{suffix}", ARRAY).rename(tmp_path / name)
    np.testing.assert_array_equal(_voxels(read_image([path])[0]), ARRAY)


def test_a_volume_larger_than_memory_is_an_error_of_its_own(
    tmp_path: Path, write_volume: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_volume(tmp_path / "large.nii", np.zeros((3, 4, 5), np.int16))

    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    opened = replace(reading.open_volume(path), read=fail)
    monkeypatch.setattr(reading, "open_volume", lambda *_, **__: opened)
    for read in (lambda: read_image([path]), lambda: read_label(path)):
        with pytest.raises(DataError, match=r"large\.nii: is larger than the memory that is free$"):
            read()
