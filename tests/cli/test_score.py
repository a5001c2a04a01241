"""`lunet score` as a person meets it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

RunLunet = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    for index in range(3):
        array = np.zeros((5, 6, 7), np.uint8)
        array[1:3, 2:5, index:] = 1
        (tmp_path / "labels").mkdir(exist_ok=True)
        path = tmp_path / f"labels/c{index}.nii.gz"
        sitk.WriteImage(sitk.GetImageFromArray(array), str(path))
    return tmp_path / "labels"


def test_label_maps_of_any_tool(tmp_path: Path, labels: Path, call_lunet: RunLunet) -> None:
    done = call_lunet(
        *("score", labels, labels, "--label", "liver=1", "-o", tmp_path / "out"),
        *("--metric", "nsd", "--tolerance", "2", "--json"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert [row["metric"] for row in result["summaries"]] == ["nsd"]
    assert result["summaries"][0]["mean"] == 1
    assert result["facts"]["nsd_tolerance_mm"] == 2
    assert (tmp_path / "out/metrics.csv").is_file()


def test_references_without_a_prediction_fail_unless_told_otherwise(
    tmp_path: Path, labels: Path, call_lunet: RunLunet
) -> None:
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks/c0.nii.gz").write_bytes((labels / "c0.nii.gz").read_bytes())
    done = call_lunet("score", "masks", labels, cwd=tmp_path)
    assert done.returncode == 1
    assert "2 of 3 references without a prediction, such as c1" in done.stderr
    assert "--only-predicted" in done.stderr
    assert call_lunet("score", "masks", labels, "--only-predicted", cwd=tmp_path).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["labels"], 2, "missing"),
        (["p", "labels"], 1, "p: there is no such file or folder"),
        (["labels", "labels", "--label", "x"], 2, "--label x: is not a label"),
        (["labels", "labels", "--tolerance", "-1"], 2, "--tolerance: "),
        (["labels", "labels", "--tta"], 2, "no such option: --tta"),
    ],
)
def test_mistakes_get_one_line(
    arguments: list[str],
    code: int,
    message: str,
    tmp_path: Path,
    labels: Path,
    call_lunet: RunLunet,
) -> None:
    done = call_lunet("score", *arguments, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    (error,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert message in error
