from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from lunet_cli.config.preprocessing import PreprocessingConfig
from lunet_cli.engine.data.preprocessing import Normalization, Preprocessing
from lunet_cli.engine.data.volume import Geometry

KEEP = Normalization("none", 40.0, 400.0)
IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
RAS = (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0)
# Columns are where x, y, z of the image point: to S, to R and to P.
SRP = (0.0, -1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0)
TILTED = (0.8, -0.6, 0.0, 0.6, 0.8, 0.0, 0.0, 0.0, 1.0)


def _image(
    array: np.ndarray[Any, Any],
    *,
    spacing: tuple[float, float, float] = (1.0, 2.0, 3.0),
    origin: tuple[float, float, float] = (10.0, 20.0, 30.0),
    direction: tuple[float, ...] = IDENTITY,
) -> sitk.Image:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    image.SetDirection(direction)
    return image


def _points(geometry: Geometry) -> np.ndarray[Any, Any]:
    """Patient coordinates (D, H, W, 3) of every voxel."""
    z, y, x = np.indices(geometry.size)
    steps = np.stack([x, y, z], axis=-1) * np.array(geometry.spacing_mm[::-1])
    return np.array(geometry.origin_mm) + steps @ np.array(geometry.direction).reshape(3, 3).T


NUMBERED = np.arange(60, dtype=np.float32).reshape(5, 4, 3)


def test_ras_is_turned_to_lps_by_two_flips() -> None:
    volume = Preprocessing("LPS", None, KEEP).apply_to_image([_image(NUMBERED, direction=RAS)])
    np.testing.assert_array_equal(volume.array[0], NUMBERED[:, ::-1, ::-1])
    # x ran from 10 down to 10 - 2 * 1 and y from 20 down to 20 - 3 * 2.
    assert volume.geometry.origin_mm == (8.0, 14.0, 30.0)
    assert volume.geometry.direction == IDENTITY
    assert volume.geometry.spacing_mm == (3.0, 2.0, 1.0)


@pytest.mark.parametrize("target", ["LPS", "RAS", "PIR"])
@pytest.mark.parametrize("direction", [IDENTITY, RAS, SRP, TILTED])
def test_reorientation_leaves_every_value_where_it_is_in_the_patient(
    direction: tuple[float, ...], target: str
) -> None:
    image = _image(NUMBERED, direction=direction)
    before = dict(
        zip(NUMBERED.ravel().tolist(), _points(Geometry.of(image)).reshape(-1, 3), strict=True)
    )
    volume = Preprocessing(target, None, KEEP).apply_to_image([image])
    after = dict(
        zip(volume.array.ravel().tolist(), _points(volume.geometry).reshape(-1, 3), strict=True)
    )
    assert before.keys() == after.keys()
    assert max(np.abs(before[value] - after[value]).max() for value in before) < 1e-9
    letters = {"L": (0, 1), "R": (0, -1), "P": (1, 1), "A": (1, -1), "S": (2, 1), "I": (2, -1)}
    axes = np.array(volume.geometry.direction).reshape(3, 3)
    for column, letter in enumerate(target):
        row, sign = letters[letter]
        assert axes[row, column] * sign > 0.7


def test_no_orientation_keeps_the_stored_axes() -> None:
    volume = Preprocessing(None, None, KEEP).apply_to_image([_image(NUMBERED, direction=SRP)])
    np.testing.assert_array_equal(volume.array[0], NUMBERED)
    assert volume.geometry.direction == SRP


@pytest.mark.parametrize("direction", [IDENTITY, TILTED])
@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), (3.0, 2.5, 0.5), (2.0, 1.5, 1.0)])
def test_resampling_keeps_a_ramp_and_the_outer_corner(
    spacing_mm: tuple[float, float, float], direction: tuple[float, ...]
) -> None:
    image = _image(np.zeros((12, 16, 20), np.float32), spacing=(1.0, 1.5, 2.0), direction=direction)
    slope = np.array([2.0, 3.0, -1.0])
    ramp = sitk.GetImageFromArray((_points(Geometry.of(image)) @ slope + 5).astype(np.float32))
    ramp.CopyInformation(image)
    volume = Preprocessing(None, spacing_mm, KEEP).apply_to_image([ramp])
    geometry = volume.geometry
    old_mm = (12 * 2.0, 16 * 1.5, 20 * 1.0)
    assert geometry.spacing_mm == spacing_mm
    assert geometry.size == tuple(
        round(edge / new) for edge, new in zip(old_mm, spacing_mm, strict=True)
    )
    axes = np.array(direction).reshape(3, 3)
    corner = np.array([10.0, 20.0, 30.0]) - axes @ np.array([1.0, 1.5, 2.0]) / 2
    new_corner = np.array(geometry.origin_mm) - axes @ np.array(spacing_mm[::-1]) / 2
    np.testing.assert_allclose(new_corner, corner, atol=1e-9)
    # Beyond the outermost voxel centres nothing is known, so the ramp holds two voxels of the old
    # grid inside.
    points = _points(geometry)
    inner = np.all(
        np.abs((points - corner) @ axes - np.array(old_mm[::-1]) / 2)
        < np.array(old_mm[::-1]) / 2 - 4,
        -1,
    )
    assert inner.sum() > 100
    np.testing.assert_allclose(volume.array[0][inner], (points @ slope + 5)[inner], atol=1e-3)


# With 7 mm the 10.5 mm along y round to two voxels, of which the last centre lies on the outer
# border.
@pytest.mark.parametrize("edge", [0.4, 1.0, 2.7, 7.0])
def test_resampling_invents_no_rim(edge: float) -> None:
    image = _image(np.full((6, 7, 8), 7.0, np.float32), spacing=(1.0, 1.5, 2.0))
    volume = Preprocessing("LPS", (edge, edge, edge), KEEP).apply_to_image([image])
    np.testing.assert_allclose(volume.array, 7.0)


def test_label_follows_its_image_and_gains_no_values() -> None:
    array = np.zeros((12, 16, 20), np.uint16)
    array[2:10, 4:12, 5:15] = 4
    array[4:8, 6:10, 8:12] = 9
    label = _image(array, spacing=(1.0, 1.5, 2.0), direction=RAS)
    image = sitk.Cast(label, sitk.sitkFloat32)
    preprocessing = Preprocessing("LPS", (1.0, 1.0, 1.0), KEEP)
    volume, label_map = preprocessing.apply_to_image([image]), preprocessing.apply_to_label(label)
    assert label_map.geometry == volume.geometry
    assert label_map.array.shape == (24, 24, 20)
    assert label_map.array.dtype == np.uint16
    assert set(np.unique(label_map.array).tolist()) == {0, 4, 9}
    # Voxels of 1 mm, so the number of voxels is the volume: 4 x 4 x 4 voxels of 1 x 1.5 x 2 mm.
    assert np.count_nonzero(label_map.array == 9) == 192


def _normalized(
    name: str, values: list[float], level: float = 40.0, width: float = 400.0
) -> list[float]:
    channel = np.array(values, dtype=np.float32).reshape(1, 1, -1)
    result = Normalization(name, level, width)(channel)  # type: ignore[arg-type]
    assert result.dtype == np.float32
    assert result.shape == channel.shape
    return result.ravel().tolist()


def test_zscore_by_hand() -> None:
    # Mean 5, deviations -3 -1 1 3, standard deviation sqrt(20 / 4).
    expected = [deviation / 5**0.5 for deviation in (-3, -1, 1, 3)]
    assert _normalized("zscore", [2, 4, 6, 8]) == pytest.approx(expected, abs=1e-6)


def test_ct_window_by_hand() -> None:
    assert _normalized("ct_window", [-1000, -160, 40, 140, 240, 3000]) == pytest.approx(
        [0, 0, 0.5, 0.75, 1, 1]
    )
    assert _normalized("ct_window", [-600, -1350, 150], level=-600, width=1500) == pytest.approx(
        [0.5, 0, 1]
    )


def test_minmax_by_hand() -> None:
    assert _normalized("minmax", [-10, 0, 15, 30]) == pytest.approx([0, 0.25, 0.625, 1])


def test_none_changes_nothing() -> None:
    assert _normalized("none", [-3, 0, 1e6]) == [-3, 0, 1e6]


@pytest.mark.parametrize("value", [0.0, 0.1, -1024.0, 12345.678])
@pytest.mark.parametrize("name", ["zscore", "minmax"])
def test_constant_image_becomes_zero(name: str, value: float) -> None:
    assert _normalized(name, [value] * 343) == [0.0] * 343


def test_channels_are_normalised_each_by_itself() -> None:
    channels = [_image(NUMBERED), _image(NUMBERED * 50 + 1000)]
    volume = Preprocessing("LPS", None, Normalization("minmax", 40, 400)).apply_to_image(channels)
    assert volume.array.shape == (2, 5, 4, 3)
    np.testing.assert_allclose(volume.array[0], volume.array[1], atol=1e-6)
    assert (float(volume.array[1].min()), float(volume.array[1].max())) == (0, 1)


def test_configuration_is_taken_over() -> None:
    config = PreprocessingConfig.model_validate(
        {
            "orientation": "RAS",
            "spacing_mm": [3, 2, 1],
            "normalization": {"name": "ct_window", "window_level": 50},
        }
    )
    expected = Preprocessing("RAS", (3.0, 2.0, 1.0), Normalization("ct_window", 50.0, 400.0))
    assert Preprocessing.from_config(config) == expected
