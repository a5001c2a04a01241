"""The models of the package: their pages are true, and their stated Dice comes out again."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from lunet_cli.config.options import EvaluationOptions, PredictionOptions
from lunet_cli.engine.checkpoints.checkpoint import load_checkpoint
from lunet_cli.engine.evaluation.evaluate import evaluate
from lunet_cli.engine.inference.load_model import load_model
from lunet_cli.records.model_folder import SHIPPED, list_models, require_model

ROOT = Path(__file__).parents[2]
NAMES = sorted(path.stem for path in SHIPPED.glob("*.json"))
# Rounding of other processors and versions moves a voxel here and there.
TOLERANCE = 0.001
# The wheel may have 5 MB; other files, packed, take 3.1 MB of it.
MOST_BYTES_OF_WEIGHTS = 1_200_000


def test_there_is_a_size_for_each_need_and_one_is_recommended() -> None:
    assert [f"hippocampus-mri-{size}" for size in ("16f", "1f", "2f", "4f", "8f")] == NAMES
    assert require_model("hippocampus-mri").page.name in NAMES
    assert {path.suffix for path in SHIPPED.iterdir()} == {".pt", ".json", ""}


@pytest.mark.parametrize("name", NAMES)
def test_a_page_says_what_its_checkpoint_says(name: str) -> None:
    found = require_model(name)
    page, checkpoint = found.page, load_checkpoint(found.checked_weights())
    assert checkpoint.training is None
    assert checkpoint.config == page.config
    assert dict(checkpoint.card.to_record()) == {
        key: value for key, value in dict(page).items() if key in dict(checkpoint.card.to_record())
    }
    assert page.num_bytes == found.weights.stat().st_size
    assert page.num_parameters == sum(
        weight.numel()
        for key, weight in checkpoint.weights.items()
        if not re.search(r"running_|num_batches", key)
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_page_is_complete(name: str) -> None:
    page = require_model(name).page
    assert page.dice is not None
    assert page.statement is not None
    assert page.git_commit is not None
    assert page.dice.num_cases == page.statement.data.num_validation
    assert [row.label for row in page.dice.labels] == ["anterior", "posterior", "mean of labels"]
    for row in page.dice.labels:
        assert row.low < row.mean < row.high
    licence = (SHIPPED / "LICENSE").read_text(encoding="utf-8")
    for told in (page.statement.data.licence, page.statement.data.licence_url, "13, 4128 (2022)"):
        assert told in licence


@pytest.mark.parametrize("name", NAMES)
def test_no_place_of_a_machine_is_told(name: str) -> None:
    for path in (SHIPPED / f"{name}.json", SHIPPED / f"{name}.pt"):
        content = path.read_bytes()
        for place in (b"/home", b"/work", b"/tmp", b"/root", b"shared/data", b"\\Users"):
            assert place not in content, (path, place)


def test_the_package_carries_them_and_their_licence() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert "lunet_cli/models/LICENSE" in project["license-files"]
    assert "CC-BY-SA-4.0" in project["license"]
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) < MOST_BYTES_OF_WEIGHTS


@pytest.mark.real_data
@pytest.mark.parametrize("name", NAMES)
def test_the_stated_dice_comes_out(name: str, hippocampus: Path) -> None:
    stated = require_model(name).page.dice
    assert stated is not None
    found = evaluate(
        load_model(name, options=PredictionOptions(device="cpu", precision="fp32")),
        data=hippocampus,
        split="val",
        options=EvaluationOptions(metrics=("dice",)),
        write=False,
    )
    assert found.failures == ()
    assert found.facts.num_cases == stated.num_cases
    measured = {row.label: (row.mean, *row.interval) for row in found.summaries}
    expected = {row.label: (row.mean, row.low, row.high) for row in stated.labels}
    assert measured.keys() == expected.keys()
    for label, values in expected.items():
        assert measured[label] == pytest.approx(values, abs=TOLERANCE)


def test_no_page_is_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lunet_cli.records.model_folder.own_folder", lambda: tmp_path)
    assert list_models().problems == ()
