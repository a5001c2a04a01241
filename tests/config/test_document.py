from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from lunet_cli.config.document import read_document, read_value
from lunet_cli.config.load import load_config
from lunet_cli.errors import ConfigError


def refusal(path: Path) -> str:
    start = time.process_time()
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert time.process_time() - start < 1
    assert "\n" not in caught.value.message
    return caught.value.message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("training: {epochs: !!int abc}", "tags (!name) are not read"),
        ("a: !!timestamp x", "tags"),
        ("a: !!binary x", "tags"),
        ("a: !!python/object/apply:os.system [ls]", "tags"),
        ("a: !!set {x}", "tags"),
        ('a: "o\\udcff"', "half of a character"),
        ("a: &x 1\nb: *x", "anchors (&name) and aliases (*name) are not read"),
        ("a: &x [*x]", "anchors"),
        ("a: [" + "[" * 600, "more than 12 levels"),
        ("- " * 5000, "more than 12 levels"),
        ("a: '" + "x" * 5000 + "'", "a text of 5,000 characters; 4,096 are possible"),
        ("a: " + "9" * 4000, "more than 64 bits"),
        ("a: 0x" + "f" * 4000, "more than 64 bits"),
        ("a: " + "1:" * 1500 + "1", "more than 64 bits"),
        ("a: \0", "character #x0000 is not allowed"),
        ("a:\n  \x1bb: 1", "character #x001b is not allowed"),
        ("? {a: b}\n: c", "unhashable"),
    ],
)
def test_what_a_configuration_does_not_need_is_refused_in_a_line(
    text: str, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(text, encoding="utf-8")
    message = refusal(path)
    assert message.startswith(f"{path}:")
    assert words in message


def test_the_line_of_a_character_that_is_not_allowed_is_told(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("training:\n  epochs: 3\n# \x07\n", encoding="utf-8")
    assert refusal(path).startswith(f"{path}:3: ")


def test_a_file_without_end_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("# " + "x" * 5_000_000, encoding="utf-8")
    assert refusal(path) == f"{path}: is larger than 64 kB; a configuration is not that long"


def test_a_pipe_and_a_device_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "zero.yaml").symlink_to("/dev/zero")
    for name in ("pipe.yaml", "zero.yaml"):
        assert refusal(tmp_path / name).endswith(f"{name}: is not a file but a pipe or a device")


def test_a_run_folder_leads_to_its_configuration(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").touch()
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path)
    assert caught.value.hint == f"Did you mean {tmp_path / 'config.yaml'}?"


def test_the_name_of_a_network_is_recognised(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "lunet_small_4f")
    assert "--set model.architecture=lunet_small_4f" in caught.value.hint


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-8"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_files_of_windows_editors_are_read(encoding: str, newline: str, tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_bytes(f"training:{newline}  epochs: 3{newline}".encode(encoding))
    assert load_config(path).training.epochs == 3


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("=", "="),
        ("<<", "<<"),
        ("2024-01-01", "2024-01-01"),
        ("1.5", 1.5),
        ("yes", True),
        ("0x10", 16),
        ("~", None),
        ("'!x'", "!x"),
        ("{a: [1, b]}", {"a": [1, "b"]}),
    ],
)
def test_plain_values_are_read_as_yaml_says_and_dates_as_text(text: str, value: object) -> None:
    assert read_value(text) == value


def test_lines_are_those_of_the_keys(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("a:\n  b: 1\n\nc: {d: 2}\n", encoding="utf-8")
    assert read_document(path).lines == {("a",): 1, ("a", "b"): 2, ("c",): 4, ("c", "d"): 4}
