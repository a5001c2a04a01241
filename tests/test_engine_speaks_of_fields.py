"""Only the command line speaks of options and commands; below it, texts name fields and jobs."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "lunet_cli"
SPEAKS_OF_OPTIONS = ("cli", "config")
OPTION_OR_COMMAND = re.compile(
    r"(?<![\w-])--[a-z]"
    r"|\blunet (train|predict|eval|score|compare|export|bench|report|viz|presets|config)\b(?! \d)"
)


def texts(module: Path) -> Iterator[tuple[int, str]]:
    """Every string of a module with its line, but for the docstrings."""
    tree = ast.parse(module.read_text(encoding="utf-8"))
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
        if is_text and id(node) not in docstrings:
            yield node.lineno, node.value


def modules() -> list[str]:
    paths = [path.relative_to(PACKAGE) for path in sorted(PACKAGE.rglob("*.py"))]
    return [path.as_posix() for path in paths if path.parts[0] not in SPEAKS_OF_OPTIONS]


@pytest.mark.parametrize("module", modules())
def test_no_text_names_an_option_or_a_command(module: str) -> None:
    found = [
        f"{module}:{line}: {text}"
        for line, text in texts(PACKAGE / module)
        if OPTION_OR_COMMAND.search(text)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("text", "speaks"),
    [
        ("use --max-memory", True),
        ("`lunet eval RUN` writes it", True),
        ("go on with `resume=auto`", False),
        ("`evaluate(RUN)` writes it", False),
        ("a -- b", False),
        ("made by lunet 0.1", False),
    ],
)
def test_what_counts_as_one(text: str, speaks: bool) -> None:
    assert (OPTION_OR_COMMAND.search(text) is not None) == speaks
