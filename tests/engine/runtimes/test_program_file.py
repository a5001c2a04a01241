from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lunet_cli.engine.networks.blocks import SegmentationNetwork
from lunet_cli.engine.runtimes.program_file import (
    _is_guard,
    _is_size,
    read_extra_text,
    require_no_code,
)
from lunet_cli.engine.runtimes.tracing import trace
from lunet_cli.errors import CheckpointError


@pytest.fixture
def program(network_of: Callable[..., SegmentationNetwork], tmp_path: Path) -> Path:
    path = tmp_path / "a.pt2"
    torch.export.save(trace(network_of("lunet")), path, extra_files={"note.json": "{}"})
    return path


def test_program_of_ours_passes(program: Path) -> None:
    require_no_code(program)
    assert read_extra_text(program, "note.json") == "{}"
    assert read_extra_text(program, "absent.json") == ""


def test_code_in_a_file_is_not_run(program: Path, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "ran",))

    evil = tmp_path / "evil.pt2"
    with zipfile.ZipFile(program) as old, zipfile.ZipFile(evil, "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
        buffer = io.BytesIO()
        torch.save(Evil(), buffer)
        folder = old.namelist()[0].partition("/")[0]
        new.writestr(f"{folder}/data/sample_inputs/evil.pt", buffer.getvalue())
    with pytest.raises(CheckpointError, match="holds more than tensors"):
        require_no_code(evil)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("text", "is_harmless"),
    [
        ("Mul(Integer(16), Symbol('u0', integer=True))", True),
        ("Max(1, Symbol('s12', positive=True, integer=True))", True),
        ("__import__('os').system('true')", False),
        ("Integer(9)**9**9", False),
        ("Integer(99999999999999999999)", False),
        (7, False),
    ],
)
def test_sizes_are_expressions_of_sizes(text: object, is_harmless: bool) -> None:
    assert _is_size(text) is is_harmless


@pytest.mark.parametrize(
    ("text", "is_harmless"),
    [
        ("L['image'].size()[0] >= 1 and L['image'].size()[2] != 3", True),
        ("exec('1') == 1", False),
        ("L = 1", False),
        (None, False),
    ],
)
def test_guards_are_comparisons_of_sizes(text: object, is_harmless: bool) -> None:
    assert _is_guard(text) is is_harmless
