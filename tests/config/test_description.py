from __future__ import annotations

from pathlib import Path

import pytest

from lunet_cli.config.description import read_description, require_apart, require_folder
from lunet_cli.errors import ConfigError, DataError


def test_a_missing_folder_leads_to_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "hippocampus").mkdir()
    (tmp_path / "hippocampis.txt").touch()
    with pytest.raises(DataError, match="there is no such folder") as caught:
        require_folder(tmp_path / "hipocampus")
    assert caught.value.hint == f"Did you mean {tmp_path / 'hippocampus'}?"
    with pytest.raises(DataError, match="is a file, not a folder"):
        require_folder(tmp_path / "hippocampis.txt")
    with pytest.raises(DataError, match="there is no such folder") as caught:
        require_folder(tmp_path / "none" / "hippocampus")
    assert caught.value.hint == ""
    require_folder(tmp_path)


def test_training_and_validation_lie_apart_whatever_their_paths_say(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "again").symlink_to(tmp_path / "train")
    with pytest.raises(ConfigError, match=r"is data\.train_dir too"):
        require_apart(tmp_path / "train", tmp_path / "again")
    require_apart(tmp_path / "train", tmp_path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{broken", "is not valid JSON"),
        (b"\xff\xfe{", "is not valid JSON"),
        (b"[" * 100_000, "is not valid JSON"),
        (b" " * (2**24 + 1), "is larger than 16 MiB"),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "dataset.json"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_description(path)
    assert caught.value.message.startswith(f"{path}: {words}")


def test_files_with_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    path = tmp_path / "dataset.json"
    path.write_bytes(b'\xef\xbb\xbf{"name": "\xc3\xa4"}')
    assert read_description(path) == {"name": "ä"}
