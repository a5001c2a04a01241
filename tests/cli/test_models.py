from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from lunet_cli.cli.options import complete_model
from lunet_cli.records.model_folder import require_model

CallLunet = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "own"
    for module in ("records.model_folder", "engine.checkpoints.keeping"):
        monkeypatch.setattr(f"lunet_cli.{module}.own_folder", lambda: folder)
    return folder


def test_list_shows_names_dice_and_the_warning(call_lunet: CallLunet, tmp_path: Path) -> None:
    done = call_lunet("models", "list", cwd=tmp_path)
    assert done.returncode == 0
    assert "hippocampus-mri-1f" in done.stdout
    assert "Not a medical device" in done.stdout
    listed = json.loads(call_lunet("models", "list", "--json", cwd=tmp_path).stdout)
    assert listed[0]["name"] == "hippocampus-mri-1f"
    assert all(model["is_shipped"] for model in listed)


def test_broken_files_are_warnings(call_lunet: CallLunet, tmp_path: Path, own: Path) -> None:
    own.mkdir()
    (own / "[red]broken.json").write_text("{", encoding="utf-8")
    done = call_lunet("models", "list", cwd=tmp_path)
    assert done.returncode == 0
    assert "[red]broken.json: is not valid JSON" in done.stderr.replace("\n", "")


def test_show_tells_all_that_matters(call_lunet: CallLunet, tmp_path: Path) -> None:
    page = require_model("hippocampus-mri").page
    assert page.statement is not None
    text = " ".join(call_lunet("models", "show", "hippocampus-mri", cwd=tmp_path).stdout.split())
    for told in (
        "also called hippocampus-mri",
        "anterior (1), posterior (2); 0 is background",
        "intensities by zscore",
        f"{page.num_parameters:,} parameters",
        "Not for whole-brain MRI",
        "CC-BY-SA 4.0",
        "Nature Communications 13, 4128 (2022)",
        "Not a medical device",
    ):
        assert told in text
    shown = json.loads(
        call_lunet("models", "show", "hippocampus-mri", "--json", cwd=tmp_path).stdout
    )
    assert shown["sha256"] == page.sha256
    assert shown["num_parameters"] == page.num_parameters
    assert [row["label"] for row in shown["dice"]["labels"]][-1] == "mean of labels"


def test_a_mistyped_name_is_one_line_with_the_nearest(
    call_lunet: CallLunet, tmp_path: Path
) -> None:
    done = call_lunet("models", "show", "hipocampus-mri", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: hipocampus-mri: there is no such model. Did you mean")
    assert "hint:  lunet models list" in done.stderr


def test_add_use_and_remove(call_lunet: CallLunet, tmp_path: Path, trained_run: Path) -> None:
    done = call_lunet("models", "add", trained_run, "--name", "mine", cwd=tmp_path)
    assert done.stdout.startswith("mine: ")
    again = call_lunet("models", "add", trained_run, "--name", "mine", cwd=tmp_path)
    assert again.returncode == 1
    assert "lunet models remove mine" in again.stderr
    assert "you" in call_lunet("models", "list", cwd=tmp_path).stdout
    assert complete_model("mi") == ["mine"]
    assert call_lunet("models", "remove", "mine", cwd=tmp_path).stdout.count("removed") == 2
    gone = call_lunet("models", "remove", "mine", cwd=tmp_path)
    assert "there is no such model" in gone.stderr


def test_names_stand_for_models_in_other_commands(
    call_lunet: CallLunet, tmp_path: Path, trained_run: Path
) -> None:
    call_lunet("models", "add", trained_run, "--name", "mine", cwd=tmp_path)
    done = call_lunet("eval", "mine", "--metric", "dice", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "models" / "mine" / "eval" / "val" / "summary.json").is_file()
    done = call_lunet("export", "hippocampus-mri-1f", "--format", "safetensors", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "hippocampus-mri-1f.safetensors").is_file()
    assert (
        "hippocampus-mri-1f"
        in call_lunet("viz", "network", "hippocampus-mri-1f", cwd=tmp_path).stdout
    )


def test_a_prediction_tells_name_and_version(
    call_lunet: CallLunet, tmp_path: Path, hippocampus: Path
) -> None:
    scan = sorted((hippocampus / "imagesTr").glob("*.nii.gz"))[0]
    done = call_lunet("predict", "hippocampus-mri-1f", scan, "-o", "masks", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "for research, not a medical device" in " ".join(done.stderr.split())
    record = json.loads((tmp_path / "masks" / "lunet_predict.json").read_text(encoding="utf-8"))
    page = require_model("hippocampus-mri-1f").page
    assert record["models"] == [f"hippocampus-mri-1f {page.version}"]
    assert record["networks"] == [page.sha256]
