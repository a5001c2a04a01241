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
    r"|\blunet (train|predict|eval|score|compare|export|bench|report|viz|presets|config)\b"
)
# They are being mended; each module leaves this list when it is, and none may come in.
NOT_YET_MENDED = {
    "engine/benchmarking/benchmark.py",
    "engine/benchmarking/comparison.py",
    "engine/benchmarking/plan.py",
    "engine/benchmarking/subjects.py",
    "engine/benchmarking/workers.py",
    "engine/checkpoints/exported_files.py",
    "engine/checkpoints/models.py",
    "engine/checkpoints/tensors.py",
    "engine/data/dicom.py",
    "engine/data/labels.py",
    "engine/data/splits.py",
    "engine/data/store.py",
    "engine/evaluation/compare.py",
    "engine/evaluation/evaluate.py",
    "engine/exporting/export.py",
    "engine/exporting/formats.py",
    "engine/exporting/windows.py",
    "engine/inference/labelled_cases.py",
    "engine/inference/outputs.py",
    "engine/inference/postprocessing.py",
    "engine/inference/predictor.py",
    "engine/reporting/report.py",
    "engine/run_folder.py",
    "engine/run_lock.py",
    "engine/runtimes/onnx_runtime.py",
    "engine/runtimes/openvino_runtime.py",
    "engine/runtimes/runtime.py",
    "engine/training/start.py",
    "engine/viewing/cases.py",
    "engine/viewing/pareto.py",
    "engine/viewing/volumes.py",
    "records/bench.py",
    "records/comparison.py",
    "records/evaluation.py",
    "records/export.py",
    "records/files.py",
    "records/history.py",
    "records/manifest.py",
    "records/network_card.py",
    "records/training_summary.py",
    "render/tables.py",
}


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
    if module in NOT_YET_MENDED:
        pytest.skip("is being mended")
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
