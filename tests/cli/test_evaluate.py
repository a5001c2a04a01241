"""`lunet eval` and `lunet compare` as a person meets them."""

from __future__ import annotations

import csv
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

RunLunet = Callable[..., "subprocess.CompletedProcess[str]"]


def write(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(sitk.GetImageFromArray(array), str(path))
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for index in range(5):
        image = rng.integers(0, 200, (8, 9, 10)).astype(np.int16)
        write(tmp_path / f"data/images/c{index}.nii.gz", image)
        write(tmp_path / f"data/labels/c{index}.nii.gz", (image > 110).astype(np.uint8))
    return tmp_path / "data"


def test_eval_and_compare(
    tmp_path: Path, data: Path, run_lunet: RunLunet, make_threshold_model
) -> None:
    for name, threshold in (("right", 110.5), ("wrong", 90.5)):
        make_threshold_model(
            tmp_path / name / "best_model.pt", thresholds=(threshold,), labels={"liver": (1,)}
        )
        done = run_lunet(
            "eval", tmp_path / name, "--data", data, "-o", tmp_path / name / "eval/val"
        )
        assert done.returncode == 0, done.stderr
        assert "5 cases" in done.stdout
        assert "liver" in done.stdout
        assert "HD95 mm" in done.stdout
        assert f"{tmp_path / name}/eval/val/metrics.csv" in done.stdout.replace("\n", "")
    with (tmp_path / "right/eval/val/metrics.csv").open(encoding="utf-8") as file:
        assert [float(row["dice"]) for row in csv.DictReader(file)] == [1] * 5
    compared = run_lunet("compare", tmp_path / "wrong", tmp_path / "right")
    assert compared.returncode == 0, compared.stderr
    assert "Dice minus that of wrong" in compared.stdout
    assert "0.0625" in compared.stdout  # five cases of one sign: 2 / 2^5
    result = json.loads(
        run_lunet("compare", tmp_path / "wrong", tmp_path / "right", "--json").stdout
    )
    assert result["differences"][0]["mean"] > 0
    assert [run["on_parameter_front"] for run in result["runs"]] == [False, True]


def test_failed_cases_make_the_exit_code(
    tmp_path: Path, data: Path, run_lunet: RunLunet, make_threshold_model
) -> None:
    (data / "images/c2.nii.gz").write_text("no image")
    model = make_threshold_model(tmp_path / "model.pt")
    done = run_lunet("eval", model, "--data", data, "-o", tmp_path / "out")
    assert done.returncode == 1
    assert f"error: {data / 'images/c2.nii.gz'}: cannot be read" in done.stderr
    assert "4 cases, 1 failed" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["eval"], 2, "missing"),
        (["eval", "--predictions", "data"], 2, "no such option: --predictions"),
        (["eval", "model.pt", "--data", "data", "--metric", "dise"], 2, "--metric"),
        (["eval", "model.pt", "--data", "data", "--overlap", "0.95"], 2, "--overlap: "),
        (["eval", "model.pt", "--data", "data", "--label", "x=1"], 2, "--label: the checkpoint"),
        (["compare", "a", "b", "--metric", "dise"], 2, "--metric dise: unknown metric"),
        (["eval", "model.pt", "--data", "data", "--label", "x"], 2, "--label x: is not a label"),
        (["eval", "model.pt", "--data", "dat"], 1, "dat: there is no such folder"),
        (["eval", "missing.pt"], 1, "missing.pt: there is no such checkpoint"),
        (["eval", "empty"], 1, "empty: holds no checkpoint"),
        (["compare", "empty", "empty"], 1, "empty: has no evaluation 'val'"),
        (["compare", "empty"], 2, "needs at least two runs"),
    ],
)
def test_mistakes_get_one_line(
    arguments: list[str],
    code: int,
    message: str,
    tmp_path: Path,
    data: Path,
    call_lunet: RunLunet,
    make_threshold_model,
) -> None:
    make_threshold_model(tmp_path / "model.pt")
    (tmp_path / "empty").mkdir()
    done = call_lunet(*arguments, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert message in errors[0]
    assert "Traceback" not in done.stderr
