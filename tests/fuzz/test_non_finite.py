"""No number that is not finite becomes a mask: NaN weights, and intensities that overflow."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import torch

from lunet_cli.config.options import ExportOptions
from lunet_cli.engine.checkpoints.models import load_model
from lunet_cli.engine.exporting.export import _describe
from lunet_cli.engine.exporting.formats import write_format
from lunet_cli.engine.networks.blocks import SegmentationNetwork

Call = Callable[..., Any]
BAD = (float("nan"), float("inf"), float("-inf"))


def write_image(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(sitk.GetImageFromArray(array), str(path))
    return path


def require_refusal(answer: Any, out: Path, message: str, told: object) -> None:
    errors = [line for line in answer.stderr.splitlines() if line.startswith("error: ")]
    assert answer.returncode == 1, (told, answer.stderr)
    assert len(errors) == 1, (told, answer.stderr)
    assert message in errors[0], told
    assert not list(out.rglob("*")), told


def test_weights_that_are_not_finite_are_refused(
    call_lunet: Call,
    num_attacks: Callable[[int, int], int],
    make_threshold_model: Call,
    require_calm,
    tmp_path: Path,
) -> None:
    """Each attack spoils one number anywhere in the weights of a checkpoint."""
    values = torch.load(make_threshold_model(tmp_path / "good.pt"), weights_only=True)
    write_image(tmp_path / "in.nii.gz", np.full((8, 8, 8), 200, np.int16))
    rng = np.random.default_rng(0)
    names = [name for name, tensor in values["weights"].items() if tensor.is_floating_point()]
    for number in range(num_attacks(10, 120)):
        name = names[int(rng.integers(len(names)))]
        bad = BAD[number % 3]
        weights = {key: tensor.clone() for key, tensor in values["weights"].items()}
        flat = weights[name].view(-1)
        flat[int(rng.integers(len(flat)))] = bad
        torch.save({**values, "weights": weights}, tmp_path / "bad.pt")
        start = time.monotonic()
        answer = call_lunet(
            "predict", "bad.pt", "in.nii.gz", "-o", "out", "--device", "cpu", cwd=tmp_path
        )
        require_calm(answer, seconds=time.monotonic() - start, attack=(name, bad))
        require_refusal(
            answer,
            tmp_path / "out",
            f"bad.pt: {name} holds values that are not finite",
            (name, bad),
        )


@pytest.mark.parametrize(
    ("format_name", "file", "package"),
    [
        ("onnx", "bad.onnx", "onnxscript"),
        ("openvino", "bad.xml", "openvino"),
        ("torch-export", "bad.pt2", "torch"),
        ("safetensors", "bad.safetensors", "safetensors"),
    ],
)
def test_exported_weights_that_are_not_finite_are_refused(
    format_name: Any,
    file: str,
    package: str,
    call_lunet: Call,
    make_threshold_model: Call,
    tmp_path: Path,
) -> None:
    """OpenVINO turns NaN into 0 at the next ReLU, so that its logits look sound."""
    pytest.importorskip(package)
    model = load_model(make_threshold_model(tmp_path / "good.pt"))
    assert isinstance(model.network, SegmentationNetwork)
    facts = _describe(model, ExportOptions(format=format_name))
    with torch.no_grad():
        model.network.encoders[1][0].conv.weight[0, 0, 1, 1, 1] = float("nan")
    write_format(model.network, tmp_path / file, facts, window=(16, 16, 16))
    write_image(tmp_path / "in.nii.gz", np.full((8, 8, 8), 200, np.int16))
    answer = call_lunet("predict", file, "in.nii.gz", "-o", "out", "--device", "cpu", cwd=tmp_path)
    require_refusal(answer, tmp_path / "out", "holds values that are not finite", format_name)


@pytest.mark.parametrize("normalization", ["zscore", "minmax", "none", "ct_window"])
def test_extreme_intensities_give_a_sound_mask_or_one_line(
    normalization: str,
    call_lunet: Call,
    num_attacks: Callable[[int, int], int],
    make_threshold_model: Call,
    require_calm,
    tmp_path: Path,
) -> None:
    """The good volume of the batch is always segmented."""
    values = torch.load(make_threshold_model(tmp_path / "model.pt"), weights_only=True)
    values["preprocessing"]["normalization"]["name"] = normalization
    torch.save(values, tmp_path / "model.pt")
    rng = np.random.default_rng(1)
    largest = float(np.finfo(np.float32).max)
    for number in range(num_attacks(3, 30)):
        array = rng.normal(size=(8, 8, 8)).astype(np.float32)
        scale = [largest, 1e30, 1e18, 1e-40, 0.0][number % 5]
        array = np.clip(array / np.abs(array).max() * scale, -largest, largest).astype(np.float32)
        write_image(tmp_path / "in/bad.nii.gz", array)
        write_image(tmp_path / "in/good.nii.gz", rng.normal(size=(8, 8, 8)).astype(np.float32))
        out = tmp_path / f"out{number}"
        start = time.monotonic()
        answer = call_lunet(
            "predict", "model.pt", "in", "-o", out, "--precision", "fp32", cwd=tmp_path
        )
        require_calm(answer, seconds=time.monotonic() - start, attack=(normalization, scale))
        assert (out / "good.nii.gz").is_file()
        refused = (normalization != "ct_window" and scale == largest) or (
            normalization == "none" and scale == 1e30
        )
        assert (answer.returncode == 1) == refused, (normalization, scale, answer.stderr)
        assert (out / "bad.nii.gz").is_file() != refused
        assert ("in/bad.nii.gz: its intensities" in answer.stderr) == refused


def test_overflow_inside_of_the_network_is_one_line(
    call_lunet: Call, make_threshold_model: Call, tmp_path: Path
) -> None:
    values = torch.load(make_threshold_model(tmp_path / "model.pt"), weights_only=True)
    values["weights"] = {
        name: tensor * 1e15 if name.endswith("conv.weight") else tensor
        for name, tensor in values["weights"].items()
    }
    torch.save(values, tmp_path / "model.pt")
    write_image(tmp_path / "in.nii.gz", np.full((8, 8, 8), 200, np.int16))
    answer = call_lunet(
        "predict", "model.pt", "in.nii.gz", "-o", "out", "--precision", "fp32", cwd=tmp_path
    )
    require_refusal(
        answer, tmp_path / "out", "in.nii.gz: the network gives numbers that are not finite", 1e15
    )
    assert "its input reaches 200" in answer.stderr


def test_export_of_a_spoilt_network_writes_nothing(
    call_lunet: Call, make_threshold_model: Call, tmp_path: Path
) -> None:
    values = torch.load(make_threshold_model(tmp_path / "model.pt", config={}), weights_only=True)
    next(iter(values["weights"].values())).view(-1)[0] = float("nan")
    torch.save(values, tmp_path / "model.pt")
    answer = call_lunet("export", "model.pt", "--format", "torch-export", cwd=tmp_path)
    assert answer.returncode == 1
    assert "holds values that are not finite" in answer.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]
    answer = call_lunet("bench", "model.pt", cwd=tmp_path)
    assert answer.returncode == 1
    assert "holds values that are not finite" in answer.stderr
