from __future__ import annotations

import numpy as np
import pytest

from lunet_cli.engine.data.intensities import Intensities, IntensitySurvey, intensities_of


def survey_of(*blocks: np.ndarray) -> Intensities:
    survey = IntensitySurvey()
    for block in blocks:
        survey.add(block)
    return survey.result()


def test_blocks_by_hand() -> None:
    # 1, 3 | 5, 7: mean 4, squares 9 + 1 + 1 + 9.
    blocks = np.array([[[1, 3]]], np.int16), np.array([[[5, 7]]], np.int16)
    assert survey_of(*blocks) == Intensities(1.0, 7.0, 4.0, 5**0.5)
    assert intensities_of(np.concatenate(blocks), with_moments=True) == survey_of(*blocks)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_blocks_of_any_size_are_the_whole(dtype: type) -> None:
    # Far from zero, where the difference of sums of squares has no digits left.
    array = (100 + np.random.default_rng(0).normal(0, 2, (23, 9, 7))).astype(dtype)
    if dtype == np.float32:
        array += 1e6
    found = survey_of(array[:1], array[1:14], array[14:])
    exact = array.astype(np.longdouble)
    assert (found.low, found.high) == (array.min(), array.max())
    assert found.mean == pytest.approx(float(exact.mean()), rel=1e-14)
    assert found.std == pytest.approx(float(exact.std()), rel=1e-9)
