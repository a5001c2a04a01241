from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from lunet_cli.engine.data.reading import read_image, read_label
from lunet_cli.engine.data.stored_bytes import Part, read_head, read_parts, read_start
from lunet_cli.errors import DataError

ARRAY = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)


def _noise(seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).normal(size=(24, 40, 32)).astype(np.float32)


def test_uncompressed_file_with_a_gz_name_is_read(tmp_path: Path, write_volume: Any) -> None:
    path = write_volume(tmp_path / "a.nii", ARRAY).rename(tmp_path / "b.nii.gz")
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read_image([path])[0]), ARRAY)


def test_damage_inside_a_gzip_stream_is_refused(
    tmp_path: Path, write_volume: Any, refusal: Any
) -> None:
    path = write_volume(tmp_path / "flipped.nii.gz", (_noise() > 1).astype(np.uint8))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x55
    path.write_bytes(content)
    assert "flipped.nii.gz" in refusal(read_label, path)


def test_bomb_takes_no_memory(
    tmp_path: Path, write_volume: Any, monkeypatch: pytest.MonkeyPatch, refusal: Any
) -> None:
    path = write_volume(tmp_path / "a.nii", ARRAY)
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    zeros = (packer.compress(bytes(2**20)) for _ in range(64))
    (tmp_path / "bomb.nii.gz").write_bytes(
        packer.compress(path.read_bytes()) + b"".join(zeros) + packer.flush()
    )
    largest = 0
    decompressobj = zlib.decompressobj

    class Watched:
        def __init__(self, bits: int) -> None:
            self._unpacker = decompressobj(bits)

        def decompress(self, packed: bytes, most: int) -> bytes:
            nonlocal largest
            content = self._unpacker.decompress(packed, most)
            largest = max(largest, len(content))
            return content

        def __getattr__(self, name: str) -> object:
            return getattr(self._unpacker, name)

    monkeypatch.setattr(zlib, "decompressobj", Watched)
    assert "but more bytes follow" in refusal(read_image, [tmp_path / "bomb.nii.gz"])
    assert largest < 1000


def test_more_voxels_than_the_header_asks_for_are_refused(
    tmp_path: Path, write_volume: Any, refusal: Any
) -> None:
    for suffix in (".nii", ".nii.gz", ".nrrd", ".mha"):
        path = write_volume(tmp_path / f"a{suffix}", ARRAY)
        content = path.read_bytes()
        is_packed = suffix == ".nii.gz"
        path.write_bytes(
            gzip.compress(gzip.decompress(content) + bytes(9)) if is_packed else content + bytes(9)
        )
        assert "its header asks for 240 bytes of voxels, but" in refusal(read_image, [path])
        path.write_bytes(
            gzip.compress(gzip.decompress(content) + b"\n") if is_packed else content + b"\n"
        )
        np.testing.assert_array_equal(sitk.GetArrayFromImage(read_image([path])[0]), ARRAY)


def test_the_start_of_a_file_is_unpacked_whatever_its_name(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"abcdef")
    assert read_start(path, 3) == b"abc"
    assert read_head(path, 9) == (b"abcdef", "raw")
    path.write_bytes(gzip.compress(b"abcdef"))
    assert read_start(path, 2) == b"\x1f\x8b"
    assert read_head(path, 3) == (b"abc", "gzip")


def test_parts_of_several_files_in_another_byte_order(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"head" + np.array([1, 2], ">u2").tobytes())
    two.write_bytes(b"a longer head" + np.array([3], ">u2").tobytes())
    parts = [Part(path=one, start=4, num_bytes=4), Part(path=two, start=-1, num_bytes=2)]
    found = read_parts("header", parts, packing="raw", number=np.dtype(">u2"))
    assert found.dtype.isnative
    assert found.tolist() == [1, 2, 3]


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress])
def test_packed_streams_one_behind_the_other_and_padding(pack: Any, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(pack(b"skipped" + bytes([1, 2])) + pack(bytes([3])) + bytes(8))
    part = Part(path=path, start=0, num_bytes=3, skip=7)
    assert read_parts("header", [part], packing="gzip", number=np.dtype("u1")).tolist() == [1, 2, 3]


def test_a_stream_that_ends_early_is_refused_with_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(gzip.compress(bytes(100)))
    with pytest.raises(DataError, match=r"^header: .* it is incomplete \(100 bytes of 101\)$"):
        read_parts(
            "header",
            [Part(path=path, start=0, num_bytes=101)],
            packing="gzip",
            number=np.dtype("u1"),
        )
    path.write_bytes(path.read_bytes()[:-1])  # a byte of the checksum
    with pytest.raises(DataError, match="it is incomplete"):
        read_parts(
            "header",
            [Part(path=path, start=0, num_bytes=100)],
            packing="gzip",
            number=np.dtype("u1"),
        )
