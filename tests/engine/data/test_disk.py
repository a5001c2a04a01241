from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from lunet_cli.engine.data.disk import is_file, is_folder, list_folder, open_file, require_present
from lunet_cli.errors import DataError


def _refusal(ask: Callable[[Path], object], path: Path) -> str:
    with pytest.raises(DataError) as caught:
        ask(path)
    assert "\n" not in caught.value.message
    return caught.value.message.removeprefix(f"{path}: ")


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(path))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (_pipe, "is a pipe, not a file"),
        (_socket, "is a socket, not a file"),
        (lambda path: path.symlink_to("/dev/zero"), "is a device, not a file"),
        (lambda path: path.mkdir(), "is a folder, not a file"),
        (
            lambda path: path.symlink_to("nowhere"),
            "is a link to nowhere, and there is no such file or folder",
        ),
        (lambda path: path.symlink_to(path), "cannot be read: too many levels of symbolic links"),
        (lambda path: None, "there is no such file or folder"),
    ],
)
def test_what_is_not_a_file_is_named(
    make: Callable[[Path], None], words: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.nii.gz"
    make(path)
    assert _refusal(open_file, path) == words
    assert not is_file(path)


def test_names_that_cannot_be() -> None:
    for path in (Path("x" * 300), Path("a\0b")):
        assert _refusal(require_present, path).startswith("cannot be read: ")
        assert not is_file(path)
        assert not is_folder(path)


def test_rights_that_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied")

    file = tmp_path / "a"
    file.touch()
    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr(Path, "iterdir", refuse)
    assert _refusal(open_file, file) == "cannot be read: permission denied"
    assert _refusal(list_folder, tmp_path) == "cannot be listed: permission denied"
    monkeypatch.setattr(Path, "stat", refuse)
    assert _refusal(require_present, file) == "cannot be read: permission denied"
    assert not is_folder(tmp_path)


def test_hidden_entries_are_left_out(tmp_path: Path) -> None:
    for name in ("b", "a", ".c"):
        (tmp_path / name).touch()
    assert [path.name for path in list_folder(tmp_path)] == ["a", "b"]
