from __future__ import annotations

import numpy as np
import pytest

from lunet_cli.engine.evaluation.overlap import dice


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
