"""`lunet data`, and `lunet train --data`, from the command line."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import SimpleITK as sitk  # noqa: N813

RunLunet = Callable[..., "subprocess.CompletedProcess[str]"]


def test_from_a_folder_to_a_model(run_lunet: RunLunet, tmp_path: Path) -> None:
    made = run_lunet("data", "phantom", "few", "--cases", "3", "--size", "16", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    shown = run_lunet("data", "fingerprint", "few", "--json", cwd=tmp_path)
    assert len(json.loads(shown.stdout)["cases"]) == 3
    trained = run_lunet(
        "train", "--data", "few", "--minutes", "2", "--set", "training.epochs=1", cwd=tmp_path
    )
    assert trained.returncode == 0, trained.stderr
    run = tmp_path / "runs" / "few"
    assert (run / "best_model.pt").exists()
    assert "# " in (run / "plan.yaml").read_text(encoding="utf-8")
    again = run_lunet("train", "--data", "few", cwd=tmp_path)
    assert "is not overwritten" in again.stderr


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("train --data few --minutes 0", "error: --minutes: expected more than 0.0, found 0.0\n"),
        ("train --data few --arch nope", "error: --arch: 'nope' is not a preset. lunet presets"),
        (
            "data plan few -o a.yaml --memory 1",
            "error: --memory: expected at least 64.0, found 1.0",
        ),
        ("data phantom few --size 8,8", "error: --size: '8,8' is not a size; write 96, or"),
        (
            "data phantom few --layout msd --channels 2",
            "error: --channels: layout msd has one file",
        ),
    ],
)
def test_a_wrong_option_is_one_line(
    words: str, line: str, run_lunet: RunLunet, tmp_path: Path
) -> None:
    done = run_lunet(*words.split(), cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(line)
    assert not list(tmp_path.iterdir())


def test_a_plan_is_not_written_over_another_file(run_lunet: RunLunet, tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text("mine", encoding="utf-8")
    done = run_lunet("data", "plan", ".", "-o", "my.yaml", cwd=tmp_path)
    assert done.returncode == 1
    assert "--force" in done.stderr
    assert (tmp_path / "my.yaml").read_text(encoding="utf-8") == "mine"


def test_two_ways_to_say_what_is_trained(run_lunet: RunLunet, tmp_path: Path) -> None:
    both = run_lunet("train", "quickstart", "--data", ".", cwd=tmp_path)
    assert "keep one" in both.stderr
    neither = run_lunet("train", cwd=tmp_path)
    assert "--data DIR" in neither.stderr


def test_a_check_lists_what_is_wrong_and_a_copy_is_mended(
    run_lunet: RunLunet, tmp_path: Path
) -> None:
    made = run_lunet("data", "phantom", "few", "--cases", "3", "--size", "16", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    clean = run_lunet("data", "check", "few", cwd=tmp_path)
    assert clean.returncode == 0
    assert clean.stdout == "3 cases in the layout nnunet: no problem found\n"
    label = next((tmp_path / "few" / "labelsTr").iterdir())
    image = sitk.ReadImage(str(label))
    image.SetOrigin((0.2, 0.0, 0.0))
    sitk.WriteImage(image, str(label))
    found = run_lunet("data", "check", "few", "--json", cwd=tmp_path)
    assert found.returncode == 1
    (problem,) = json.loads(found.stdout)["problems"]
    assert problem["kind"] == "grid"
    mended = run_lunet("data", "check", "few", "--fix", "mended", cwd=tmp_path)
    assert mended.returncode == 0, mended.stdout
    assert mended.stdout.endswith("1 file mended (mended.json has all); nothing is left\n")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("nowhere", "error: nowhere: there is no such file"),
        ("quickstart --fix out", "error: --fix copies a data set"),
        (". --resample", "error: --resample is for --fix OUT"),
        (". --set training.epochs=3", "error: --set is for a configuration"),
        ("scan.nii.gz", "error: scan.nii.gz: is neither a folder nor a configuration"),
    ],
)
def test_what_cannot_be_checked_is_one_line(
    run_lunet: RunLunet, tmp_path: Path, words: str, line: str
) -> None:
    (tmp_path / "scan.nii.gz").touch()
    told = run_lunet("data", "check", *words.split(), cwd=tmp_path)
    assert told.returncode == 2 or words == "nowhere"
    assert told.stderr.startswith(line)


def test_what_is_kept_is_shown_and_cleared(run_lunet: RunLunet, tmp_path: Path) -> None:
    settings = ("data.cache=disk", "data.phantom.num_cases=3", "data.phantom.size=16")
    settings += ("training.epochs=1", "training.batch_size=2", "training.precision=fp32")
    settings += ("model.architecture=lunet_large_1f", "training.patch_size=[16, 16, 16]")
    trained = run_lunet(
        "train", "default", *(f"--set={setting}" for setting in settings), cwd=tmp_path
    )
    assert trained.returncode == 0, trained.stderr
    shown = run_lunet("data", "cache", "info", cwd=tmp_path)
    assert "built-in volumes" in shown.stdout
    assert "3 cases" in shown.stdout
    cleared = run_lunet("data", "cache", "clear", "runs", cwd=tmp_path)
    assert cleared.stdout.startswith("runs/.cache: 3 cases removed, ")
