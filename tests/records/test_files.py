"""Files are read within bounds, and written whole or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import BinaryIO

import pytest

from lunet_cli.errors import CheckpointError, DataError, OutputError
from lunet_cli.records import files
from lunet_cli.records.files import (
    read_bytes,
    read_text,
    require_file,
    require_stored_archive,
    sha256_of,
    write_atomically,
)


def test_writing_leaves_nothing_but_the_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, lambda file: file.write(b"new"))
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_writer_that_raises_leaves_the_old_file(
    error: type[BaseException], tmp_path: Path
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def write(file: BinaryIO) -> None:
        file.write(b"half of the n")
        raise error

    with pytest.raises(error):
        write_atomically(path, write)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def write(file: BinaryIO) -> None:
        file.write(b"half of the n")
        raise OSError(28, "No space left on device")

    with pytest.raises(OutputError) as caught:
        write_atomically(path, write)
    assert caught.value.message == f"{path}: cannot be written (No space left on device)"
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_process_killed_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    program = """
import os, sys
from pathlib import Path
from lunet_cli.records.files import write_atomically
def write(file):
    file.write(b"half of the n")
    file.flush()
    os._exit(9)
write_atomically(Path(sys.argv[1]), write)
"""
    done = subprocess.run([sys.executable, "-c", program, str(path)], check=False, timeout=60)
    assert done.returncode == 9
    assert path.read_bytes() == b"old"


def test_a_missing_folder_a_folder_and_a_pipe_are_not_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, message in (
        (tmp_path / "absent", "there is no such file"),
        (tmp_path / "absent" / "file", "there is no such file"),
        (tmp_path, "is a folder, not a file"),
        (tmp_path / "pipe", "is a pipe or device, not a file"),
        (Path("/dev/zero"), "is a pipe or device, not a file"),
        (tmp_path / ("a" * 300), "cannot be read .File name too long"),
        (tmp_path / "nul\0l", "cannot be read .embedded null byte"),
    ):
        with pytest.raises(CheckpointError, match=message):
            require_file(path, error=CheckpointError)


def test_no_more_than_the_bound_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MOST_BYTES", 1 << 20)
    (tmp_path / "fits").write_bytes(b"a" * (1 << 20))
    assert len(read_bytes(tmp_path / "fits")) == 1 << 20
    with (tmp_path / "large").open("wb") as file:
        file.truncate((1 << 20) + 1)
    with pytest.raises(DataError, match="is larger than the 1 MiB"):
        read_bytes(tmp_path / "large")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"a\xff", "is not UTF-8 text .byte 1"), (b"a\0b", "is not text .it holds null")],
)
def test_what_is_not_text(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_text(tmp_path / "file")


def test_an_archive_that_grows_when_it_is_opened_is_refused(tmp_path: Path) -> None:
    for kind, is_fine in ((zipfile.ZIP_STORED, True), (zipfile.ZIP_DEFLATED, False)):
        with zipfile.ZipFile(tmp_path / "file", "w", kind) as archive:
            archive.writestr("data", b"0" * 100_000)
        if is_fine:
            require_stored_archive(tmp_path / "file", what="checkpoint", error=CheckpointError)
        else:
            with pytest.raises(CheckpointError, match=r"is not a checkpoint .its parts are packed"):
                require_stored_archive(tmp_path / "file", what="checkpoint", error=CheckpointError)


def test_digest_of_the_standard(tmp_path: Path) -> None:
    """FIPS 180-2, appendix B.1: the message `abc`."""
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_of(path) == expected
