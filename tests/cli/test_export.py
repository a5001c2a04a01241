from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

Call = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--format", "onnx", "--half", "--int8"], 2, "--half and --int8: take one of them"),
        (["--format", "onnx", "--int8"], 2, "--int8 and --calibrate: belong together"),
        (
            ["--format", "onnx", "--calibrate", "calib"],
            2,
            "--int8 and --calibrate: belong together",
        ),
        (
            ["--format", "torch-export", "--int8", "--calibrate", "calib"],
            2,
            "has no quantised networks",
        ),
        (["--format", "torch-export", "-o", "a.onnx"], 1, "torch-export files end in .pt2"),
        (["--format", "torch-export", "--check", "gone"], 1, "there is no such file"),
        (["--format", "torch-export", "--arch", "lunet_small_1f"], 1, "knows its own network"),
    ],
)
def test_mistakes(
    call_lunet: Call,
    make_threshold_model: Callable[..., Path],
    tmp_path: Path,
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    make_threshold_model(tmp_path / "model.pt")
    (tmp_path / "calib").mkdir()
    done = call_lunet("export", "model.pt", *arguments, cwd=tmp_path)
    assert done.returncode == code
    assert message in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"model.pt", "calib"}


def test_missing_checkpoint(call_lunet: Call, tmp_path: Path) -> None:
    done = call_lunet("export", "gone.pt", "--format", "torch-export", cwd=tmp_path)
    assert done.returncode == 1
    assert "gone.pt: there is no such checkpoint" in done.stderr


def test_export_and_predict_by_the_real_command(
    run_lunet: Callable[..., subprocess.CompletedProcess[str]],
    make_threshold_model: Callable[..., Path],
    tmp_path: Path,
) -> None:
    pytest.importorskip("onnxscript")
    make_threshold_model(tmp_path / "best_model.pt", config={})
    done = run_lunet("export", tmp_path, "--format", "onnx", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["files"] == [
        str(tmp_path / "best_model.onnx"),
        str(tmp_path / "best_model.onnx.json"),
    ]
    assert result["agreement"]["dice"] == 1.0
    (tmp_path / "in").mkdir()
    image = sitk.GetImageFromArray(np.full((8, 8, 8), 200, np.int16))
    sitk.WriteImage(image, str(tmp_path / "in" / "a.nii.gz"))
    done = run_lunet("predict", "best_model.onnx", "in", "-o", "out", "--explain", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "since the job is short" in done.stdout
    assert sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out" / "a.nii.gz"))).min() == 1
    refused = run_lunet(
        "predict", "best_model.onnx", "in", "-o", "out2", "--runtime", "torch", cwd=tmp_path
    )
    assert refused.returncode == 2
    assert "best_model.onnx: cannot be computed by the runtime torch" in refused.stderr
