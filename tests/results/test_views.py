"""Volumes to look at, and the slices cut from them."""

from __future__ import annotations

import numpy as np
import pytest

from lunet_cli.results.views import (
    FALSE_NEGATIVE,
    FALSE_POSITIVE,
    WRONG_LABEL,
    LabeledVolume,
    paint_masks,
)


@pytest.fixture
def volume() -> LabeledVolume:
    """Intensities that tell their voxel: 100 z + 10 y + x; a label high up at the front."""
    z, y, x = np.indices((3, 4, 5))
    reference = np.zeros((3, 4, 5), np.uint8)
    reference[2, 0, 1:4] = 1
    return LabeledVolume("case", 100 * z + 10 * y + x, (5.0, 1.0, 2.0), ("liver",), reference)


def test_axial_slices_have_the_front_on_top_and_others_the_head(volume: LabeledVolume) -> None:
    window = (0.0, 1000.0)
    axial, coronal, sagittal = (volume.cut(axis, 1, window).image * 1000 for axis in range(3))
    np.testing.assert_allclose(axial, volume.image[1])
    np.testing.assert_allclose(coronal, volume.image[::-1, 1])
    np.testing.assert_allclose(sagittal, volume.image[::-1, :, 1])


def test_pixels_keep_their_size_in_the_patient(volume: LabeledVolume) -> None:
    assert [volume.cut(axis, 0).pixel_mm for axis in range(3)] == [
        (1.0, 2.0),
        (5.0, 2.0),
        (5.0, 1.0),
    ]
    assert volume.cut(1, 0).extent_mm == (15.0, 10.0)


def test_best_slice_has_the_most_reference_or_else_prediction_or_is_the_middle(
    volume: LabeledVolume,
) -> None:
    assert [volume.best_position(axis) for axis in range(3)] == [2, 0, 1]
    reference = volume.reference
    predicted = LabeledVolume(
        "c", volume.image, (1, 1, 1), ("liver",), np.zeros((3, 4, 5), np.uint8), reference
    )
    assert predicted.best_position(0) == 2
    assert LabeledVolume("c", volume.image, (1, 1, 1)).best_position(2) == 2


def test_montage_covers_the_labels(volume: LabeledVolume) -> None:
    assert volume.montage_positions(2, 12) == [1, 2, 3]
    assert LabeledVolume("c", volume.image, (1, 1, 1)).montage_positions(0, 2) == [0, 2]


def test_errors_are_false_negative_false_positive_or_wrong_label() -> None:
    image = np.zeros((1, 1, 5), np.float32)
    reference = np.array([[[0, 1, 1, 2, 0]]], np.uint8)
    prediction = np.array([[[0, 1, 0, 1, 2]]], np.uint8)
    cut = LabeledVolume("c", image, (1, 1, 1), ("a", "b"), reference, prediction).cut(0, 0)
    errors = cut.errors()
    assert errors is not None
    assert errors.tolist() == [[0, 0, FALSE_NEGATIVE, WRONG_LABEL, FALSE_POSITIVE]]
    assert LabeledVolume("c", image, (1, 1, 1), ("a",), reference).cut(0, 0).errors() is None


def test_volumes_are_in_millilitres(volume: LabeledVolume) -> None:
    assert volume.reference is not None
    assert volume.volumes_ml(volume.reference) == {"liver": pytest.approx(3 * 10 / 1000)}


def test_later_masks_cover_earlier_ones() -> None:
    masks = [np.array([True, True, False]), np.array([False, True, False])]
    assert paint_masks(masks, (3,)).tolist() == [1, 2, 0]
    many = paint_masks((np.arange(400) == index for index in range(400)), (400,))
    assert many.tolist() == list(range(1, 401))


@pytest.mark.parametrize("value", [0, 7, -3])
def test_constant_images_are_drawn_in_a_middle_grey(value: int) -> None:
    volume = LabeledVolume("c", np.full((2, 2, 2), value, np.int16), (1, 1, 1))
    np.testing.assert_allclose(volume.cut(0, 0).image, 0.5)


def test_few_bright_voxels_do_not_darken_the_rest() -> None:
    image = np.tile(np.arange(100, dtype=np.float32), (10, 10, 1))
    image[0, 0, 0] = 1e6
    low, high = LabeledVolume("c", image, (1, 1, 1)).intensity_range()
    assert 0 <= low < 3
    assert high < 101
