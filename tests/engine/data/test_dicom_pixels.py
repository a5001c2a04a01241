from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from pydicom.dataset import Dataset
from pydicom.uid import JPEGLSLossless, RLELossless

from lunet_cli.engine.data.reading import read_image

ARRAY = np.random.default_rng(0).integers(0, 2000, (5, 6, 7)).astype(np.int16)


@pytest.mark.parametrize(("slope", "intercept"), [(1, -1024), (2, 3), (0.5, -10.25), (1, 60_000)])
def test_rescale_of_each_slice(
    slope: float, intercept: float, series: Path, change_slices: Any
) -> None:
    def change(dataset: Dataset, index: int) -> None:
        dataset.RescaleSlope, dataset.RescaleIntercept = slope * (index + 1), intercept

    change_slices(series, change)
    (image,) = read_image([series])
    factors = slope * np.arange(1, 6)[:, None, None]
    np.testing.assert_allclose(
        sitk.GetArrayFromImage(image), ARRAY * factors + intercept, rtol=1e-6
    )


@pytest.mark.parametrize("syntax", [JPEGLSLossless, RLELossless])
def test_compressed_pixels(
    syntax: str, series: Path, tmp_path: Path, change_slices: Any, write_enhanced: Any
) -> None:
    def compress(dataset: Dataset, index: int) -> None:
        dataset.RescaleSlope, dataset.RescaleIntercept = 2, -1000
        dataset.compress(syntax, generate_instance_uid=False)

    change_slices(series, compress)
    np.testing.assert_array_equal(
        sitk.GetArrayFromImage(read_image([series])[0]), ARRAY.astype(np.int32) * 2 - 1000
    )
    dataset = write_enhanced(tmp_path / "e.dcm", ARRAY, order=[4, 3, 2, 1, 0])
    dataset.compress(syntax, generate_instance_uid=False)
    dataset.save_as(tmp_path / "e.dcm")
    np.testing.assert_array_equal(
        sitk.GetArrayFromImage(read_image([tmp_path / "e.dcm"])[0]), ARRAY
    )


def test_bits_above_the_stored_ones_are_left_out(series: Path, change_slices: Any) -> None:
    def change(dataset: Dataset, index: int) -> None:
        stored = np.frombuffer(dataset.PixelData, "<u2") | 0x8000
        dataset.PixelData = stored.astype("<u2").tobytes()
        dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 12, 11, 0

    change_slices(series, change)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read_image([series])[0]), ARRAY)


def test_truncated_pixels_are_refused(series: Path, refusal: Any) -> None:
    path = sorted(series.iterdir())[0]
    path.write_bytes(path.read_bytes()[:-20])
    assert f"{path}: cannot be read: its pixels are damaged or incomplete" in refusal(
        read_image, [series]
    )
