"""The code blocks of README and docs.

Python is run, `lunet` lines are read by the real command line, and a bash block below `<!-- run
-->` is run too, in the order of its page. Trainings are cut to one epoch.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import typer
import yaml

from lunet_cli.cli.app import app

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    *sorted(page for page in (ROOT / "docs").rglob("*.md") if page.parent.name != "adr"),
]
# Their code needs more than a folder: tests/docs/test_serve.py.
PAGES_ON_THEIR_OWN = ("serve",)
RunLunet = Callable[..., "subprocess.CompletedProcess[str]"]
ONE_EPOCH = ["--set", "training.epochs=1"]
FEW_CASES = ["--set", "data.phantom.num_cases=4"]
BLOCK = re.compile(
    r"(?P<mark><!-- run -->\n)?^```(?P<language>bash|python)\n(?P<code>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)


class Block(NamedTuple):
    """A code block of a page."""

    language: str
    code: str
    is_run: bool


def blocks_of(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(
            found["language"], found["code"], bool(found["mark"]) or found["language"] == "python"
        )
        for found in BLOCK.finditer(text)
    ]


def lunet_lines(code: str) -> Iterator[list[str]]:
    """The arguments of each `lunet` in a bash block."""
    for line in code.replace("\\\n", " ").splitlines():
        words = shlex.split(line.replace(".venv/bin/", ""), comments=True)
        for command in _split(words, {"&&", "|", ">"}):
            if "lunet" in command:
                yield command[command.index("lunet") + 1 :]


def test_lunet_lines_are_found_and_cut_at_what_follows() -> None:
    code = "lunet a b  # why\npip install x && .venv/bin/lunet c \\\n  --d > e.json\necho no\n"
    assert list(lunet_lines(code)) == [["a", "b"], ["c", "--d"]]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_each_lunet_line_is_one_that_the_command_line_takes(page: Path) -> None:
    for block in blocks_of(page):
        if block.language == "bash":
            for words in lunet_lines(block.code):
                read(words)


@pytest.mark.parametrize(
    "words", ["evaluate runs/mine", "train a.yaml --epochs 3", "bench --batch 2", "predict a"]
)
def test_a_wrong_line_is_noticed(words: str) -> None:
    with pytest.raises((typer.exceptions.TyperException, AssertionError)):
        read(words.split())


@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    [
        page
        for page in PAGES
        if page.stem not in PAGES_ON_THEIR_OWN and any(block.is_run for block in blocks_of(page))
    ],
    ids=lambda page: page.stem,
)
def test_code_of_a_page_runs(
    page: Path, workplace: Path, tmp_path: Path, run_lunet: RunLunet, nursery: Any
) -> None:
    blocks = [block for block in blocks_of(page) if block.is_run]
    place = tmp_path / "work"
    if any(block.code.startswith("lunet train") for block in blocks):
        place.mkdir()  # The tutorial makes all that it speaks of.
    else:
        shutil.copytree(workplace, place)
    script = ""
    for block in blocks:
        if block.language == "python":
            script += block.code + "\n"
            continue
        run_python(script, place, nursery)
        script = ""
        for words in lunet_lines(block.code):
            _require_success(run_lunet(*_shortened(words), cwd=place))
    run_python(script, place, nursery)


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory, run_lunet: RunLunet) -> Path:
    """A folder with what the pages speak of: runs, configurations, volumes, masks, references."""
    place = tmp_path_factory.mktemp("docs")
    config = yaml.safe_load((ROOT / "configs" / "quickstart.yaml").read_text(encoding="utf-8"))
    config["training"]["epochs"] = 1
    config["data"] = {"phantom": {"num_cases": 4}}
    (place / "configs").mkdir()
    (place / "configs" / "quickstart.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    _require_success(run_lunet(*_shortened(["train", "quickstart"]), cwd=place))
    image = sitk.GetImageFromArray(
        np.random.default_rng(0).normal(size=(40, 36, 44)).astype(np.float32)
    )
    sitk.WriteImage(image, place / "scan.nii.gz")
    for folder in ("images", "references"):
        (place / folder).mkdir()
    sitk.WriteImage(image, place / "images" / "case.nii.gz")
    sitk.WriteImage(sitk.Cast(image > 1, sitk.sitkUInt8), place / "references" / "case.nii.gz")
    return place


def read(words: list[str]) -> None:
    """Let the command line read `words` without doing anything."""
    command: Any = typer.main.get_command(app)
    context: Any = typer.Context(command, info_name="lunet")
    words = [re.sub(r"\$\w+", "1", word) for word in words]
    while hasattr(command, "commands"):
        name, command, words = command.resolve_command(context, words)
        if hasattr(command, "commands"):
            context = typer.Context(command, info_name=name, parent=context)
    # `train` takes unknown options, to answer them with the key that is meant.
    assert command.make_context(name, list(words), parent=context).args == []


def run_python(script: str, place: Path, nursery: Any) -> None:
    """Run code as a module, so that what stands below `if __name__ == "__main__"` is only read."""
    if script:
        (place / "page.py").write_text(script, encoding="utf-8")
        process = nursery.start(code="import runpy; runpy.run_path('page.py')", cwd=place)
        stdout, stderr = process.communicate()
        assert process.returncode == 0, f"{script}\n{stdout}\n{stderr}"


def _require_success(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, f"{done.args}\n{done.stdout}\n{done.stderr}"


def _shortened(words: list[str]) -> list[str]:
    """A training with one epoch, and with few cases where it draws them itself; a short pruning."""
    if words[0] == "prune" and "--steps" in words:
        return [*words, "--steps", "1"]
    if words[0] != "train":
        return words
    has_data = any("data.root" in word for word in words)
    return [*words, *ONE_EPOCH, *([] if has_data else FEW_CASES)]


def _split(words: list[str], separators: set[str]) -> Iterator[list[str]]:
    """The runs of words between separators."""
    found: list[str] = []
    for word in [*words, "&&"]:
        if word not in separators:
            found.append(word)
            continue
        yield found
        found = []
