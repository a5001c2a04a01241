from __future__ import annotations

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


def _noise(seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).normal(size=(24, 40, 32)).astype(np.float32)


def _largest_file(folder: Path) -> Path:
    return max(folder.iterdir(), key=lambda path: path.stat().st_size)


@pytest.mark.parametrize("suffix", SINGLE_FILE)
def test_every_format_keeps_values_and_oblique_geometry(
    suffix: str, tmp_path: Path, write_volume: Any
) -> None:
    path = write_volume(
        tmp_path / f"a{suffix}", ARRAY, spacing=SPACING, origin=ORIGIN, direction=OBLIQUE
    )
    (image,) = read_image([path])
    assert image.GetPixelID() in (sitk.sitkInt16, sitk.sitkFloat32)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), ARRAY)
    geometry = Geometry.of(image)
    assert geometry.size == (4, 5, 6)
    assert geometry.spacing_mm == pytest.approx((2.5, 0.8, 0.7), abs=1e-6)
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
    np.testing.assert_array_equal(sitk.GetArrayFromImage(channels[0]), ARRAY)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(channels[1]), ARRAY + 1000)
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
    assert [float(sitk.GetArrayFromImage(channel)[0, 0, 1]) for channel in channels] == [
        1,
        1001,
        2001,
    ]
    assert {channel.GetSize() for channel in channels} == {(6, 5, 4)}


def test_channel_files_keep_their_order(
    tmp_path: Path, write_volume: Any, write_series: Any
) -> None:
    paths = [write_volume(tmp_path / "b.nrrd", ARRAY + 7), write_series(tmp_path / "a", ARRAY)]
    assert [float(sitk.GetArrayFromImage(channel)[0, 0, 0]) for channel in read_image(paths)] == [
        7,
        0,
    ]


def test_missing_file_is_named(tmp_path: Path, refusal: Any) -> None:
    assert str(tmp_path / "none.nii.gz") in refusal(read_image, [tmp_path / "none.nii.gz"])


@pytest.mark.parametrize("missing", [1, 9, 0.01, 0.5])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha", ".mhd", ".nhdr"])
def test_truncated_image_is_refused(
    suffix: str, missing: float, tmp_path: Path, write_volume: Any, refusal: Any
) -> None:
    path = write_volume(tmp_path / f"cut{suffix}", _noise())
    data = _largest_file(tmp_path)
    content = data.read_bytes()
    data.write_bytes(
        content[: len(content) - round(missing if missing >= 1 else missing * len(content))]
    )
    message = refusal(read_image, [path])
    assert str(path) in message
    assert "incomplete" in message
    assert "No such file" not in message


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".mhd", ".nhdr"])
def test_truncated_compressed_image_is_refused(suffix: str, tmp_path: Path, refusal: Any) -> None:
    path = tmp_path / f"cut{suffix}"
    sitk.WriteImage(sitk.GetImageFromArray(_noise()), str(path), useCompression=True)
    data = _largest_file(tmp_path)
    data.write_bytes(data.read_bytes()[: data.stat().st_size // 2])
    assert str(path) in refusal(read_image, [path])


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_truncated_label_is_refused(
    suffix: str, tmp_path: Path, write_volume: Any, refusal: Any
) -> None:
    path = write_volume(tmp_path / f"cut{suffix}", (_noise() > 1).astype(np.uint8))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert str(path) in refusal(read_label, path)


@pytest.mark.parametrize("content", [b"hello world\n" * 40, b""])
@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_text_or_nothing_is_not_an_image(
    suffix: str, content: bytes, tmp_path: Path, refusal: Any
) -> None:
    path = tmp_path / f"text{suffix}"
    path.write_bytes(content)
    assert (
        refusal(read_image, [path])
        == f"{path}: cannot be read: it is not an image, or its format is unknown"
    )


@pytest.mark.parametrize("suffix", [".nii.gz", ".mha"])
def test_two_dimensional_image_is_refused(suffix: str, tmp_path: Path, refusal: Any) -> None:
    path = tmp_path / f"flat{suffix}"
    sitk.WriteImage(sitk.GetImageFromArray(ARRAY[0]), str(path))
    message = refusal(read_image, [path])
    assert str(path) in message
    assert "2 dimensions (6 x 5)" in message


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("ending", ["nrrd", "mha", "nii", "nii.gz"])
@pytest.mark.parametrize("number", [np.float32, np.float64])
def test_voxels_that_are_not_finite_are_counted(
    value: float, ending: str, number: type, tmp_path: Path, write_volume: Any, refusal: Any
) -> None:
    array = ARRAY.astype(number)
    array[1, 2, 3] = array[0, 0, 0] = value
    path = write_volume(tmp_path / f"nan.{ending}", array)
    assert refusal(read_image, [path]) == f"{path}: 2 of 120 voxels are NaN or infinite"


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"spacing": (1.0, 1.0, 1.1)}, "spacing (z, y, x) (1, 1, 1) against (1.1, 1, 1)"),
        ({"origin": (0.0, 0.0, 0.5)}, "origin (x, y, z) (0, 0, 0) against (0, 0, 0.5)"),
        ({"direction": OBLIQUE}, "direction"),
    ],
)
def test_channels_of_different_grids_are_refused(
    change: dict[str, Any], word: str, tmp_path: Path, write_volume: Any, refusal: Any
) -> None:
    paths = [
        write_volume(tmp_path / "a.nrrd", ARRAY),
        write_volume(tmp_path / "b.nrrd", ARRAY, **change),
    ]
    message = refusal(read_image, paths)
    assert str(paths[1]) in message
    assert word in message


def test_channels_of_different_sizes_are_refused(
    tmp_path: Path, write_volume: Any, refusal: Any
) -> None:
    paths = [write_volume(tmp_path / "a.nrrd", ARRAY), write_volume(tmp_path / "b.nrrd", ARRAY[:3])]
    assert "size (z, y, x) (4, 5, 6) against (3, 5, 6)" in refusal(read_image, paths)


def test_label_keeps_values_and_geometry(tmp_path: Path, write_volume: Any) -> None:
    path = write_volume(
        tmp_path / "a.nii.gz", ARRAY.astype(np.float32), spacing=SPACING, origin=ORIGIN
    )
    label = read_label(path)
    assert label.GetPixelID() == sitk.sitkUInt16
    np.testing.assert_array_equal(sitk.GetArrayFromImage(label), ARRAY)
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
def test_values_that_are_not_labels_are_refused(
    value: float,
    dtype: type[np.generic],
    words: str,
    tmp_path: Path,
    write_volume: Any,
    refusal: Any,
) -> None:
    array = ARRAY.astype(dtype)
    array[0, 0, 0] = value
    path = write_volume(tmp_path / "label.nrrd", array)
    message = refusal(read_label, path)
    assert str(path) in message
    assert words in message


def test_label_with_channels_is_refused(tmp_path: Path, refusal: Any) -> None:
    parts = [sitk.GetImageFromArray(ARRAY)] * 2
    for name, image in (
        ("four.nii.gz", sitk.JoinSeries(parts)),
        ("vector.nrrd", sitk.Compose(parts)),
    ):
        sitk.WriteImage(image, str(tmp_path / name))
        assert str(tmp_path / name) in refusal(read_label, tmp_path / name)


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
    np.testing.assert_array_equal(
        sitk.GetArrayFromImage(found),
        sitk.GetArrayFromImage(expected).astype(sitk.GetArrayFromImage(found).dtype),
    )
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
            sitk.GetArrayFromImage(found),
            sitk.GetArrayFromImage(expected).astype(sitk.GetArrayFromImage(found).dtype),
        )
        assert Geometry.of(found).differences(Geometry.of(expected)) == []
        assert found.GetSpacing() == expected.GetSpacing()


def test_a_volume_larger_than_memory_is_an_error_of_its_own(
    tmp_path: Path, write_volume: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_volume(tmp_path / "large.nii", np.zeros((3, 4, 5), np.int16))

    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    opened = replace(reading.open_volume(path), read=fail)
    monkeypatch.setattr(reading, "open_volume", lambda *_, **__: opened)
    for read in (lambda: read_image([path]), lambda: read_label(path)):
        with pytest.raises(DataError, match=r"large\.nii: does not fit into the free memory$"):
            read()
