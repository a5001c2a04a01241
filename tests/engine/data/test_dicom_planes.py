from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from pydicom.dataset import Dataset

from lunet_cli.engine.data.reading import read_image
from lunet_cli.engine.data.volume import Geometry

ARRAY = np.random.default_rng(0).integers(0, 2000, (5, 6, 7)).astype(np.int16)
ORIGIN = (-10.5, 20.25, 30.0)
# 30 degrees about z, then 40 about x: no axis of the image lies along an axis of the patient.
_C30, _S30, _C40, _S40 = 0.8660254038, 0.5, 0.7660444431, 0.6427876097
OBLIQUE = (_C30, -_S30, 0.0, _S30 * _C40, _C30 * _C40, -_S40, _S30 * _S40, _C30 * _S40, _C40)


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_enhanced_image_is_read_as_highdicom_reads_it(
    modality: str, tmp_path: Path, write_enhanced: Any
) -> None:
    highdicom = pytest.importorskip("highdicom")
    slopes, intercepts = [1.0, 2.0, 0.5, 3.0, 1.5], [0.0, -10.0, 5.0, 2.5, -1000.0]
    path = tmp_path / "enhanced.dcm"
    write_enhanced(
        path, ARRAY, modality=modality, order=[3, 0, 4, 2, 1], slopes=slopes, intercepts=intercepts
    )
    (image,) = read_image([path])
    by_hand = ARRAY * np.array(slopes)[:, None, None] + np.array(intercepts)[:, None, None]
    np.testing.assert_allclose(sitk.GetArrayFromImage(image), by_hand, rtol=1e-6)
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
    ours = sitk.GetArrayFromImage(image)
    for index in np.ndindex(*volume.array.shape):
        point = volume.affine @ [*index, 1]
        x, y, z = np.rint(np.linalg.solve(axes, point[:3] - geometry.origin_mm)).astype(int)
        assert ours[z, y, x] == pytest.approx(volume.array[index], rel=1e-6)


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
    keyword: str, value: Any, words: str, series: Path, refusal: Any, change_slices: Any
) -> None:
    def change(dataset: Dataset, index: int) -> None:
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)

    change_slices(series, change)
    assert words in refusal(read_image, [series])


@pytest.mark.parametrize("tag", [b"\x20\x00\x32\x00", b"\x28\x00\x30\x00", b"\x20\x00\x37\x00"])
def test_texts_where_numbers_should_be(tag: bytes, series: Path, refusal: Any) -> None:
    for path in series.iterdir():
        content = bytearray(path.read_bytes())
        start = content.index(tag) + 8
        content[start : start + 4] = b"abcd"
        path.write_bytes(content)
    message = refusal(read_image, [series])
    assert "abcd" in message or "cannot be understood" in message
