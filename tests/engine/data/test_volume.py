from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lunet_cli.engine.data.volume import Geometry, along_patient, has_volume_suffix, stem


def test_differences_below_the_tolerance_are_none() -> None:
    mine = Geometry((2, 3, 4), (1.0, 1.0, 2.0), (0.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    near = Geometry(
        (2, 3, 4), (1.0005, 1.0, 2.0), (0.005, 0.0, 0.0), (1, 0.0005, 0, 0, 1, 0, 0, 0, 1)
    )
    far = Geometry((2, 3, 4), (1.002, 1.0, 2.0), (0.02, 0.0, 0.0), (1, 0.002, 0, 0, 1, 0, 0, 0, 1))
    assert mine.differences(near) == []
    assert [words.split()[0] for words in mine.differences(far)] == [
        "spacing",
        "origin",
        "direction",
    ]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.b.nii.gz", "a.b"),
        ("A.NII.GZ", "A"),
        ("a.nrrd", "a"),
        ("a.gz", "a.gz"),
        ("folder", "folder"),
    ],
)
def test_stem_drops_volume_suffixes_only(name: str, expected: str) -> None:
    assert stem(Path(name)) == expected
    assert has_volume_suffix(Path(name)) is (expected != name)


def test_along_the_patient_arrays_run_upwards_to_the_back_and_to_the_left() -> None:
    # Stored x runs to the front, y upwards, z to the left: columns (0,-1,0), (0,0,1), (1,0,0).
    sagittal = Geometry(
        size=(2, 3, 4),
        spacing_mm=(3.0, 2.0, 1.0),
        origin_mm=(10.0, 20.0, 30.0),
        direction=(0, 0, 1, -1, 0, 0, 0, 1, 0),
    )
    placement = along_patient(sagittal)
    assert placement.oriented_size == (3, 4, 2)
    assert placement.oriented_spacing_mm == (2.0, 1.0, 3.0)
    assert placement.mirrored == (False, True, False)
    assert not placement.is_resampled
    array = np.arange(24).reshape(2, 3, 4)
    turned = placement.orient(array)
    # Upwards is stored y, to the back is stored x from its end, to the left is stored z.
    assert turned.tolist() == array.transpose(1, 2, 0)[:, ::-1].tolist()
    # The first voxel is the last along stored x, 3 mm in front of the origin.
    assert placement.grid.origin_mm == (10.0, 17.0, 30.0)
    turned[0, 0, 0] = -1
    assert array[0, 0, 3] == -1
