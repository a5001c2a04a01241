from __future__ import annotations

import math

import numpy as np
import pytest

from lunet_cli.engine.evaluation.overlap import (
    absolute_volume_difference_ml,
    dice,
    iou,
    precision,
    relative_volume_difference,
    sensitivity,
)


def _mask(text: str) -> np.ndarray:
    return np.array([character == "x" for character in text]).reshape(1, 2, -1)


@pytest.mark.parametrize(
    ("prediction", "reference", "expected"),
    [
        ("xxxx....", "xxxx....", 1.0),
        ("xxxx....", "..xxxx..", 0.5),  # 2 x 2 / (4 + 4)
        ("x.......", "xxx.....", 0.5),  # 2 x 1 / (1 + 3)
        ("xxxxxxxx", "xx......", 0.4),  # 2 x 2 / (8 + 2)
        ("xx......", "......xx", 0.0),
        ("........", "........", 1.0),
        ("........", "x.......", 0.0),
        ("x.......", "........", 0.0),
    ],
)
def test_dice_by_hand(prediction: str, reference: str, expected: float) -> None:
    score = dice(_mask(prediction), _mask(reference))
    assert score == pytest.approx(expected)
    assert type(score) is float


def test_dice_does_not_depend_on_the_order() -> None:
    rng = np.random.default_rng(0)
    one, two = rng.random((2, 5, 6, 7)) < np.array([0.3, 0.6]).reshape(2, 1, 1, 1)
    assert dice(one, two) == dice(two, one)


def test_dice_counts_beyond_small_integers() -> None:
    everything = np.ones((41, 41, 41), dtype=bool)
    half = everything.copy()
    half[20:] = False
    # 2 x 20 / (41 + 20)
    assert dice(half, everything) == pytest.approx(40 / 61)


@pytest.mark.parametrize(
    ("prediction", "reference", "iou_", "sensitivity_", "precision_", "difference"),
    [
        ("xxxx....", "..xxxx..", 2 / 6, 0.5, 0.5, 0.0),
        ("xxxxxxxx", "xx......", 0.25, 1.0, 0.25, 3.0),
        ("x.......", "xxxx....", 0.25, 0.25, 1.0, -0.75),
        ("........", "........", 1.0, 1.0, 1.0, 0.0),
        ("........", "xx......", 0.0, 0.0, 0.0, -1.0),
        ("xx......", "........", 0.0, 0.0, 0.0, math.nan),
    ],
)
def test_other_overlaps_by_hand(
    prediction: str,
    reference: str,
    iou_: float,
    sensitivity_: float,
    precision_: float,
    difference: float,
) -> None:
    p, r = _mask(prediction), _mask(reference)
    assert iou(p, r) == pytest.approx(iou_)
    assert sensitivity(p, r) == pytest.approx(sensitivity_)
    assert precision(p, r) == pytest.approx(precision_)
    assert relative_volume_difference(p, r) == pytest.approx(difference, nan_ok=True)


def test_volume_difference_is_in_ml_and_has_no_sign() -> None:
    # Six voxels of 2 x 5 x 10 mm, a tenth of a ml each.
    assert absolute_volume_difference_ml(
        _mask("xx......"), _mask("xxxxxxxx"), (2.0, 5.0, 10.0)
    ) == pytest.approx(0.6)
    assert absolute_volume_difference_ml(
        _mask("xxxxxxxx"), _mask("xx......"), (2.0, 5.0, 10.0)
    ) == pytest.approx(0.6)
