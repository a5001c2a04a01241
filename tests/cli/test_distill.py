"""`lunet distill` as a person meets it."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

CallLunet = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def teacher(tmp_path: Path, trained_run: Path) -> Path:
    return Path(shutil.copytree(trained_run, tmp_path / "my teacher"))


def settings(teacher: Path) -> list[str]:
    """Those of the teacher, for a student in a few seconds."""
    more = ["model.architecture=lunet_small_1f", "experiment.name=student", "training.epochs=1"]
    more.append("experiment.output_dir=runs")
    return [str(teacher / "config.yaml"), *(f"--set={item}" for item in more)]


def test_a_student_learns_and_is_told_of(
    call_lunet: CallLunet, teacher: Path, tmp_path: Path
) -> None:
    arguments = ["distill", *settings(teacher), "--teacher", teacher.name, "--weight", "0.25"]
    done = call_lunet(*arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "teacher: lunet_small" in done.stderr
    assert "ms for each batch" in done.stderr
    config = yaml.safe_load((tmp_path / "runs" / "student" / "config.yaml").read_text())
    assert config["distillation"]["teacher"] == [teacher.name]
    assert config["distillation"]["weight"] == 0.25
    # What may be typed next goes on with the same teacher.
    (longer,) = [line for line in done.stdout.splitlines() if "--resume auto" in line]
    words = shlex.split(longer)
    again = call_lunet(*words[words.index("distill") :], cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "resumed from runs/student/last.pt after epoch 1" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        ([], "names no teacher", "--teacher RUN"),
        (["--teacher", "nowhere"], "no such checkpoint, run folder or model", "lunet models list"),
        (["--teacher", "runs/no"], "there is no runs/no", "Name a run folder"),
        (
            ["--teacher", "."],
            "holds neither a trained network nor probability maps",
            "lunet predict",
        ),
        (["--teacher", "my teacher", "--weight", "2"], "distillation.weight", ""),
        (["--teacher", "my teacher", "--unlabelled", "nowhere"], "nowhere", ""),
        (["--teacher", "my teacher", "--alpha", "1"], "there is no option --alpha", "Set a key"),
    ],
)
def test_what_is_wrong_is_said_in_lines(
    call_lunet: CallLunet,
    teacher: Path,
    tmp_path: Path,
    arguments: list[str],
    error: str,
    hint: str,
) -> None:
    done = call_lunet("distill", *settings(teacher), *arguments, cwd=tmp_path)
    assert done.returncode in (1, 2)
    assert error in done.stderr
    assert hint in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()


def test_data_check_passes_over_unlabelled_volumes(
    call_lunet: CallLunet, teacher: Path, tmp_path: Path
) -> None:
    made = call_lunet(
        "data", "phantom", "set", "--cases", "3", "--size", "16", "--layout", "msd", cwd=tmp_path
    )
    assert made.returncode == 0, made.stderr
    images = tmp_path / "set" / "imagesTr"
    first = min(images.iterdir())
    shutil.copy(first, images / "unlabelled.nii.gz")
    config = tmp_path / "set.yaml"
    section = {"teacher": [str(teacher)]}
    for is_named in (False, True):
        if is_named:
            section = {**section, "unlabelled_dir": str(images)}
        text = {"data": {"root": str(tmp_path / "set")}, "distillation": section}
        config.write_text(yaml.safe_dump(text))
        done = call_lunet("data", "check", str(config), cwd=tmp_path)
        assert ("belongs to no case" in done.stdout + done.stderr) != is_named
