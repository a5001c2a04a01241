from __future__ import annotations

import contextlib
import gzip
from pathlib import Path

import numpy as np
import pytest

from lunet_cli.engine.data.stored_bytes import Packing, Part
from lunet_cli.engine.data.voxel_layout import VoxelLayout
from lunet_cli.errors import DataError

# Two volumes of five planes of 3 x 4, and values of two bytes in the other byte order.
VALUES = np.arange(2 * 5 * 3 * 4).astype(">i2")


def layout_of(folder: Path, packing: Packing, *, is_beside: bool = False) -> VoxelLayout:
    """Voxels in two files of unequal parts, behind a head that is skipped."""
    content, parts = VALUES.tobytes(), []
    for name, piece in (("a", content[:100]), ("b", content[100:])):
        stored = b"head" + piece
        if packing == "gzip":
            stored = gzip.compress(stored)
        (folder / name).write_bytes(stored)
        parts.append(Part(path=folder / name, start=0, num_bytes=len(piece), skip=4))
    return VoxelLayout(
        source="header",
        parts=parts,
        packing=packing,
        number=VALUES.dtype,
        size=(5, 3, 4),
        num_stacked=1 if is_beside else 2,
        num_beside=2 if is_beside else 1,
        rescale=lambda voxels: voxels * 10,
    )


@pytest.mark.parametrize("packing", ["raw", "gzip"])
@pytest.mark.parametrize("is_beside", [False, True])
def test_planes_in_any_order_are_those_of_the_whole(
    packing: Packing, is_beside: bool, tmp_path: Path
) -> None:
    layout = layout_of(tmp_path, packing, is_beside=is_beside)
    whole = layout.read()
    expected = 10 * VALUES.reshape(2, 5, 3, 4)
    if is_beside:
        expected = 10 * np.moveaxis(VALUES.reshape(5, 3, 4, 2), -1, 0)
    np.testing.assert_array_equal(whole, expected)
    assert whole.dtype.isnative
    with contextlib.closing(layout.open()) as planes:
        # One after the other, with some again, with some left out, and back.
        for first, stop in ((0, 1), (1, 3), (2, 4), (2, 4), (4, 5), (1, 2), (3, 5), (0, 5)):
            found = planes.read(first, stop)
            np.testing.assert_array_equal(found, expected[:, first:stop])


def test_what_is_packed_is_unpacked_once_if_nothing_goes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout, opened = layout_of(tmp_path, "gzip", is_beside=True), []
    open_file = Path.open

    def watch(path: Path, mode: str) -> object:
        opened.append(path.name)
        return open_file(path, mode)

    with contextlib.closing(layout.open()) as planes:
        monkeypatch.setattr(Path, "open", watch)
        for first in range(4):
            planes.read(first, first + 2)
    assert opened == ["a", "b"]


def test_damage_is_told_when_the_last_plane_is_read(tmp_path: Path) -> None:
    layout = layout_of(tmp_path, "gzip", is_beside=True)
    content = bytearray((tmp_path / "b").read_bytes())
    content[-6] ^= 1  # of the checksum
    (tmp_path / "b").write_bytes(content)
    with contextlib.closing(layout.open()) as planes:
        planes.read(0, 4)
        with pytest.raises(DataError, match=r"^header: cannot be read: it is damaged"):
            planes.read(4, 5)
