from __future__ import annotations

import numpy as np
import pytest

from lunet_cli.engine.data.foreground import MOST_PER_VALUE, Foreground


@pytest.fixture
def label() -> np.ndarray:
    """A large organ, a small one, and one voxel."""
    label = np.zeros((20, 40, 50), np.uint8)
    label[5:15, 2:38] = 3
    label[6:8, 10:12, 10:12] = 200
    label[19, 39, 49] = 7
    return label


def test_every_position_has_the_value_it_is_kept_for(label: np.ndarray) -> None:
    found = Foreground.of(label)
    assert found.values == (3, 7, 200)
    starts = (0, *found.ends[:-1])
    counts = []
    for value, first, end in zip(found.values, starts, found.ends, strict=True):
        positions = found.positions[first:end]
        assert (label.ravel()[positions] == value).all()
        assert len(np.unique(positions)) == len(positions)
        counts.append(len(positions))
    assert counts == [MOST_PER_VALUE, 1, 8]
    # They lie all over the organ.
    planes = np.bincount(found.positions[: found.ends[0]] // (40 * 50), minlength=20)
    assert planes[5:15].min() > 800


def test_the_same_map_gives_the_same_voxels(label: np.ndarray) -> None:
    np.testing.assert_array_equal(Foreground.of(label).positions, Foreground.of(label).positions)


def test_rare_values_are_drawn_as_often_as_others(label: np.ndarray) -> None:
    found, rng = Foreground.of(label), np.random.default_rng(0)
    drawn = label.ravel()[[found.draw(rng) for _ in range(3000)]]
    for value in (3, 7, 200):
        assert 900 < np.count_nonzero(drawn == value) < 1100


def test_nothing_is_drawn_from_an_empty_map() -> None:
    empty = Foreground.of(np.zeros((2, 3, 4), np.uint16))
    assert empty.draw(np.random.default_rng(0)) is None
    assert empty.positions.shape == (0,)


def test_the_ignored_value_is_no_foreground(label: np.ndarray) -> None:
    assert Foreground.of(label, ignored=7).values == (3, 200)
    assert Foreground.of(label, ignored=250).values == (3, 7, 200)
