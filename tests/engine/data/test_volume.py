from __future__ import annotations

from pathlib import Path

import pytest

from lunet_cli.engine.data.volume import Geometry, has_volume_suffix, stem


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
