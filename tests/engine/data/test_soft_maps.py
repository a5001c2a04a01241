"""Probability maps of ours and of nnU-Net, read for learning from them."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from lunet_cli.engine.data.labels import LabelScheme
from lunet_cli.engine.data.nnunet_maps import require_same_place
from lunet_cli.engine.data.soft_maps import SoftMaps, find_soft_maps, map_endings
from lunet_cli.engine.data.volume import Geometry
from lunet_cli.errors import DataError

SIZE = (3, 4, 5)
GRID = Geometry(SIZE, (3.0, 1.0, 0.5), (7.0, -2.0, 11.0), (0, 1, 0, -1, 0, 0, 0, 0, 1))
TWO = LabelScheme((("a", (1,)), ("b", (2,))), "softmax")


def probabilities(num_channels: int, size: tuple[int, ...] = SIZE) -> np.ndarray:
    drawn = np.random.default_rng(1).random((num_channels, *size)).astype(np.float32)
    return drawn / drawn.sum(axis=0)


def properties(**more: Any) -> dict[str, Any]:
    """As SimpleITKIO of nnU-Net 2 and its preprocessor leave them."""
    stuff = {
        "spacing": GRID.spacing_mm[::-1],
        "origin": GRID.origin_mm,
        "direction": GRID.direction,
    }
    return {
        "sitk_stuff": stuff,
        "spacing": list(GRID.spacing_mm),
        "shape_before_cropping": SIZE,
        "bbox_used_for_cropping": [[0, 3], [1, 4], [0, 5]],
        "class_locations": {1: np.arange(6).reshape(2, 3), 2: np.float64(0.5)},
        **more,
    }


def nnunet(
    folder: Path,
    array: np.ndarray,
    *,
    name: str = "probabilities",
    beside: dict[str, Any] | None = None,
    labels: dict[str, Any] | None = None,
) -> SoftMaps:
    np.savez_compressed(folder / "case.npz", **{name: array})
    if beside is not None:
        (folder / "case.pkl").write_bytes(pickle.dumps(beside))
    if labels is not None:
        (folder / "dataset.json").write_text(json.dumps({"labels": labels}))
    found = find_soft_maps(folder)
    assert found is not None
    return found


def read(maps: SoftMaps, scheme: LabelScheme = TWO, grid: Geometry = GRID) -> list[np.ndarray]:
    images = maps.read(maps.of_case("case", scheme), grid, scheme)
    assert all(not Geometry.of(image).differences(grid) for image in images)
    return [sitk.GetArrayFromImage(image) for image in images]


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("beside", [None, properties()])
def test_classes_of_nnunet_are_read_in_their_axes(tmp_path: Path, kind: Any, beside: Any) -> None:
    array = probabilities(3).astype(kind)
    for found, expected in zip(
        read(nnunet(tmp_path, array, beside=beside)), array[1:], strict=True
    ):
        np.testing.assert_array_equal(found, expected.astype(np.float32))


def test_classes_are_ordered_by_their_values_whatever_they_are_called(tmp_path: Path) -> None:
    array = probabilities(3)
    labels = {"background": 0, "b": 2, "a": 1, "ignore": 3}
    found = read(nnunet(tmp_path, array, labels=labels))
    np.testing.assert_array_equal(found, array[1:])


def test_overlapping_regions_are_ordered_as_they_are_listed(tmp_path: Path) -> None:
    array = np.random.default_rng(1).random((2, *SIZE)).astype(np.float32)
    labels = {"background": 0, "whole": [1, 2], "b": 2}
    wanted = LabelScheme((("b", (2,)), ("whole", (1, 2))), "sigmoid")
    found = read(nnunet(tmp_path, array, labels=labels), wanted)
    np.testing.assert_array_equal(found, array[::-1])


def test_classes_are_added_up_to_regions(tmp_path: Path) -> None:
    array = probabilities(3)
    wanted = LabelScheme((("whole", (1, 2)),), "sigmoid")
    (found,) = read(nnunet(tmp_path, array), wanted)
    np.testing.assert_allclose(found, array[1] + array[2], atol=1e-6)


def test_a_part_of_nnunet_1_is_put_back_where_it_was(tmp_path: Path) -> None:
    array = probabilities(3, (2, 3, 4))
    beside = {
        "crop_bbox": [[1, 3], [0, 3], [1, 5]],
        "original_size_of_raw_data": np.array(SIZE),
        "itk_spacing": GRID.spacing_mm[::-1],
        "itk_origin": GRID.origin_mm,
        "itk_direction": GRID.direction,
    }
    for found, expected in zip(
        read(nnunet(tmp_path, array, name="softmax", beside=beside)), array[1:], strict=True
    ):
        np.testing.assert_array_equal(found[1:3, 0:3, 1:5], expected)
        assert found.sum() == pytest.approx(expected.sum(), rel=1e-5)


@pytest.mark.parametrize("is_turned", [False, True])
def test_the_place_by_nibabel(tmp_path: Path, is_turned: bool) -> None:
    affine = np.eye(4)
    affine[:3, :3] = np.array(GRID.direction).reshape(3, 3) * np.array(GRID.spacing_mm[::-1])
    affine[:3, 3] = GRID.origin_mm
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    stuff = {"original_affine": affine}
    if is_turned:
        stuff["reoriented_affine"] = np.diag([0.5, 1.0, 3.0, 1.0])
    path = tmp_path / "case.pkl"
    path.write_bytes(pickle.dumps({"nibabel_stuff": stuff}))
    if not is_turned:
        require_same_place(path, GRID)
        return
    with pytest.raises(DataError, match="its image lay elsewhere"):
        require_same_place(path, GRID)


class _Attack:
    def __reduce__(self) -> Any:
        return os.system, ("touch attacked",)


def elsewhere() -> dict[str, Any]:
    found = properties()
    found["sitk_stuff"]["origin"] = (0.0, 0.0, 0.0)
    return found


@pytest.mark.parametrize(
    ("beside", "message"),
    [
        (elsewhere(), r"case\.pkl: its image lay elsewhere: origin"),
        ({"attack": _Attack()}, r"case\.pkl: is not a pickle of plain values \(it asks for"),
        ([1, 2], r"case\.pkl: holds no properties"),
        ({"sitk_stuff": {"spacing": 3}}, r"case\.pkl: cannot read the place"),
    ],
)
def test_properties_that_do_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, beside: Any, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=message):
        read(nnunet(tmp_path, probabilities(3), beside=beside))
    assert not Path("attacked").exists()


@pytest.mark.parametrize(
    ("array", "settings", "message"),
    [
        (probabilities(3, (3, 5, 4)), {}, r"has 3 x 5 x 4 voxels \(z, y, x\), and its image has"),
        (probabilities(3, (2, 4, 5)), {"beside": properties()}, "has 2 x 4 x 5 voxels"),
        (
            probabilities(3, (2, 4, 5)),
            {"beside": properties(crop_bbox=[[2, 4], [0, 4], [0, 5]])},
            "does not explain it",
        ),
        (10 * probabilities(3), {}, "which are no probabilities"),
        (np.full((3, *SIZE), np.nan, np.float32), {}, "which are no probabilities"),
        (probabilities(3) / 2, {}, "add up to 0.5 to 0.5, and not to 1"),
        (probabilities(3).astype(int), {}, "expected probabilities"),
        (probabilities(3)[0], {}, "expected probabilities"),
        (probabilities(3), {"name": "seg"}, r"holds no array 'probabilities' \(but seg\.npy\)"),
        (probabilities(2), {}, r"no probabilities for the label b \[2\]"),
        (probabilities(3), {"labels": {"background": 0, "a": 1}}, "has 3 channels, and its labels"),
        (np.array([[[[object()]]]]), {}, "expected probabilities"),
    ],
)
def test_archives_that_do_not_fit(
    tmp_path: Path, array: np.ndarray, settings: Any, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read(nnunet(tmp_path, array, **settings))


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x05\x06" + bytes(18)])
def test_damaged_archives_are_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "case.npz").write_bytes(content)
    maps = find_soft_maps(tmp_path)
    assert maps is not None
    with pytest.raises(DataError, match=r"case\.npz"):
        read(maps)


def test_half_an_archive_is_told(tmp_path: Path) -> None:
    maps = nnunet(tmp_path, probabilities(3))
    whole = (tmp_path / "case.npz").read_bytes()
    for length in (len(whole) - 1, len(whole) // 2, 40):
        (tmp_path / "case.npz").write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"case\.npz"):
            read(maps)


def written(folder: Path, array: np.ndarray, name: str, grid: Geometry = GRID) -> None:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(grid.spacing_mm[::-1])
    image.SetOrigin(grid.origin_mm)
    image.SetDirection(grid.direction)
    sitk.WriteImage(image, str(folder / name))


def test_maps_of_ours_are_found_by_the_names_of_labels(tmp_path: Path) -> None:
    array = probabilities(3)
    for ending, channel in zip(map_endings(("b", "a", "c d")), array, strict=True):
        written(tmp_path, channel, f"case{ending}.nii.gz")
    maps = find_soft_maps(tmp_path)
    assert maps is not None
    np.testing.assert_array_equal(read(maps), array[[1, 0]])
    assert maps.of_case("case", LabelScheme((("e", (1,)),), "sigmoid")) == ()
    assert maps.expected("other", TWO) == tmp_path / "other_prob_a.nii.gz"


def test_maps_of_ours_that_lie_elsewhere(tmp_path: Path) -> None:
    for name in ("a", "b"):
        written(tmp_path, probabilities(1)[0], f"case_prob_{name}.nii.gz")
    maps = find_soft_maps(tmp_path)
    assert maps is not None
    other = Geometry(SIZE, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    with pytest.raises(DataError, match="does not lie on the grid of its image: spacing"):
        read(maps, grid=other)


def test_a_folder_without_maps_has_none(tmp_path: Path) -> None:
    (tmp_path / "case.nii.gz").write_bytes(b"")
    assert find_soft_maps(tmp_path) is None
