from __future__ import annotations

import numpy as np
import pytest

from lunet_cli.engine.data.volume_file import (
    axes_of,
    checked_geometry,
    checked_sizes,
    not_three_dimensional,
    words_of_number,
)
from lunet_cli.errors import DataError

SIZES, SPACING, ORIGIN = (7, 6, 5), (0.7, 0.8, 2.5), (-10.0, 20.0, 30.0)


def test_geometry_turns_from_the_order_of_files_to_that_of_arrays() -> None:
    direction = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    geometry = checked_geometry(
        "a", sizes=SIZES, spacing_mm=SPACING, origin_mm=ORIGIN, direction=direction
    )
    assert geometry.size == (5, 6, 7)
    assert geometry.spacing_mm == (2.5, 0.8, 0.7)
    assert geometry.origin_mm == ORIGIN
    assert geometry.direction == (0, -1, 0, 1, 0, 0, 0, 0, 1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"spacing_mm": (0.7, 0.0, 2.5)}, "its voxel spacing (x, y, z) is (0.7, 0, 2.5) mm"),
        ({"spacing_mm": (0.7, np.nan, 2.5)}, "its voxel spacing (x, y, z) is (0.7, nan, 2.5) mm"),
        ({"spacing_mm": (1e5, 1.0, 1.0)}, "its voxel spacing (x, y, z) is (100000, 1, 1) mm"),
        ({"origin_mm": (np.inf, 0.0, 0.0)}, "its origin (x, y, z) is (inf, 0, 0) mm"),
        ({"direction": 2 * np.eye(3)}, "its axes are not three of length 1"),
        ({"direction": np.diag([1.0, 1.0, 0.0])}, "its axes are not three of length 1"),
        ({"direction": np.full((3, 3), np.nan)}, "its axes are not three of length 1"),
        ({"direction": np.eye(3) + np.eye(3, k=1) * 0.5}, "its axes are not at right angles"),
        ({"sizes": (7, 0, 5)}, "its header says 7 x 0 x 5 voxels"),
        ({"sizes": (7, 2**21, 5)}, "its header says 7 x 2097152 x 5 voxels"),
    ],
)
def test_numbers_that_cannot_be_are_refused(change: dict[str, object], words: str) -> None:
    good = {"sizes": SIZES, "spacing_mm": SPACING, "origin_mm": ORIGIN, "direction": np.eye(3)}
    with pytest.raises(DataError) as caught:
        checked_geometry("a.nii", **good | change)  # type: ignore[arg-type]
    assert caught.value.message.startswith("a.nii: cannot be read: ")
    assert words in caught.value.message


def test_a_matrix_is_split_into_spacing_and_direction() -> None:
    spacing, direction = axes_of("a", np.array([[0.0, -2.0, 0.0], [3.0, 0.0, 0.0], [0, 0, 4]]))
    assert spacing == [3.0, 2.0, 4.0]
    np.testing.assert_array_equal(direction, [[0, -1, 0], [1, 0, 0], [0, 0, 1]])
    with pytest.raises(DataError, match="its axes do not span a volume"):
        axes_of("a", np.diag([1.0, 0.0, 1.0]))


def test_sizes_and_types_in_words() -> None:
    assert checked_sizes("a", [7, 6]) == (7, 6)
    assert "found 2 dimensions (7 x 6)" in not_three_dimensional("a", [7, 6]).message
    assert words_of_number(np.dtype("u1")) == "8-bit unsigned integer"
    assert words_of_number(np.dtype(">f8")) == "64-bit float"
