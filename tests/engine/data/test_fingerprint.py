"""The fingerprint against numbers counted by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as sitk  # noqa: N813

from lunet_cli.engine.data.fingerprint import fingerprint
from lunet_cli.errors import DataError
from lunet_cli.records.fingerprint import Fingerprint


def _write(
    root: Path, name: str, image: npt.NDArray[np.int16], label: npt.NDArray[np.uint8]
) -> None:
    for folder, array in (("images", image), ("labels", label)):
        (root / folder).mkdir(exist_ok=True)
        volume = sitk.GetImageFromArray(array)
        volume.SetSpacing((0.5, 1.0, 4.0))
        sitk.WriteImage(volume, str(root / folder / f"{name}.nii.gz"))


def test_numbers_of_a_case(tmp_path: Path) -> None:
    image = np.arange(2 * 4 * 5, dtype=np.int16).reshape(2, 4, 5)
    label = np.zeros((2, 4, 5), dtype=np.uint8)
    label[0, 0, 0], label[1, 3, 4], label[1, 3, 3] = 1, 1, 2
    _write(tmp_path, "a", image, label)
    found = fingerprint(tmp_path)
    case = found.cases[0]
    assert case.size == (2, 4, 5)
    assert case.spacing_mm == (4.0, 1.0, 0.5)
    one, two = case.values
    assert (one.num_voxels, one.num_components, two.num_components) == (2, 2, 1)
    assert one.volume_ml == pytest.approx(2 * 4 * 1 * 0.5 / 1000)
    channel = case.channels[0]
    assert (channel.low, channel.high) == (0, 39)
    assert channel.mean == pytest.approx((0 + 39 + 38) / 3)
    assert channel.percentiles[1] == 38
    found.write(tmp_path / "record.json")
    assert Fingerprint.read(tmp_path / "record.json") == found


def test_a_slab_of_another_case_is_named(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 99, (6, 5, 5)).astype(np.int16)
    label = np.ones((6, 5, 5), dtype=np.uint8)
    _write(tmp_path, "whole", image, label)
    _write(tmp_path, "slab", image[3:5], label[3:5])
    _write(tmp_path, "other", image + 100, label)
    assert fingerprint(tmp_path).copies == (("slab", "whole"),)


def test_all_broken_cases_are_told(tmp_path: Path) -> None:
    array = np.ones((3, 3, 3), dtype=np.int16)
    for name in "ab":
        _write(tmp_path, name, array, array.astype(np.uint8))
        (tmp_path / "images" / f"{name}.nii.gz").write_bytes(b"no volume")
    with pytest.raises(DataError) as caught:
        fingerprint(tmp_path)
    assert "a.nii.gz" in str(caught.value)
    assert "b.nii.gz" in str(caught.value)
