from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import torch

from lunet_cli.config.network import NetworkSpec
from lunet_cli.config.options import ExportOptions, PredictionOptions
from lunet_cli.engine.exporting import export as module
from lunet_cli.engine.exporting.export import export
from lunet_cli.engine.inference.predictor import Predictor
from lunet_cli.errors import ExportError, OutputError
from lunet_cli.results.exporting import ExportResult

RunLunet = Callable[..., "subprocess.CompletedProcess[str]"]
Make = Callable[..., Path]
FORMATS = {
    "onnx": ".onnx",
    "openvino": ".xml",
    "torch-export": ".pt2",
    "safetensors": ".safetensors",
}
NEEDS = {"onnx": "onnxscript", "openvino": "openvino", "safetensors": "safetensors"}
# What takes long is to trace layers, and tests/engine/runtimes has them all.
SMALL = NetworkSpec("lunet", (1, 1, 1), convs_per_block=1)
GUIDE = Path(__file__).resolve().parents[3] / "docs" / "export.md"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, make_threshold_model: Make) -> Path:
    folder = tmp_path_factory.mktemp("model")
    return make_threshold_model(
        folder / "best_model.pt", thresholds=(60.5, 100.5), activation="softmax", spec=SMALL
    )


@pytest.fixture(scope="module", params=FORMATS)
def exported(
    request: pytest.FixtureRequest,
    model: Path,
    volumes: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> ExportResult:
    """The model in each format."""
    name: Any = request.param
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    path = tmp_path_factory.mktemp("exported") / f"model{FORMATS[name]}"
    return export(model, ExportOptions(format=name, output=path, check=volumes))


def label_map(source: Path, image: Path) -> np.ndarray:
    predictor = Predictor.load([source], options=PredictionOptions(device="cpu"))
    return predictor.segment([sitk.ReadImage(str(image))]).label_map()


def test_exported_file_alone_gives_the_label_maps_of_the_checkpoint(
    exported: ExportResult, volumes: Path, tmp_path: Path
) -> None:
    alone = tmp_path / exported.files[0].name
    for path in exported.files:
        if path.suffix != ".json":
            shutil.copy(path, tmp_path)
    image = volumes / "case0.nii.gz"
    array = sitk.GetArrayFromImage(sitk.ReadImage(str(image)))
    assert np.array_equal(
        label_map(alone, image), np.where(array > 100, 2, np.where(array > 60, 1, 0))
    )


def test_exported_file_agrees_and_says_so(exported: ExportResult) -> None:
    assert exported.agreement.max_difference < 1e-3
    assert exported.agreement.dice == 1.0
    assert exported.agreement.documented_dice == 1.0
    assert exported.agreement.num_cases == 2
    assert exported.size_on_disk_bytes == sum(
        f.stat().st_size for f in exported.files if f.suffix != ".json"
    )
    described = json.loads(exported.files[-1].read_text(encoding="utf-8"))
    assert described["label_values"] == {"label1": 1, "label2": 2}
    assert described["activation"] == "softmax"
    assert described["window"] == [16, 16, 16]
    assert described["agreement"]["dice"] == 1.0
    table = GUIDE.read_text(encoding="utf-8").partition("## What the file says")[2]
    keys = {match[1] for match in re.finditer(r"^\| `([a-z_0-9]+)` \|", table, re.M)}
    assert set(described) == keys, "docs/export.md lists every key of the JSON"


def test_nothing_else_is_left_in_the_folder(exported: ExportResult) -> None:
    assert {path.name for path in exported.files[0].parent.iterdir()} == {
        path.name for path in exported.files
    }


@pytest.mark.parametrize("name", ["onnx", "openvino", "safetensors"])
def test_half_precision_is_smaller_and_agrees(
    model: Path, volumes: Path, tmp_path: Path, name: Any
) -> None:
    pytest.importorskip(NEEDS[name])
    path = tmp_path / f"half{FORMATS[name]}"
    result = export(model, ExportOptions(format=name, output=path, weights="fp16", check=volumes))
    assert result.weights == "fp16"
    assert result.agreement.max_difference < 2e-2
    num_values = sum(
        tensor.numel() for tensor in torch.load(model, weights_only=True)["weights"].values()
    )
    if name == "openvino":
        assert path.with_suffix(".bin").stat().st_size < 3 * num_values
    else:  # whose notes on a network so small take more room than its weights
        assert {"onnx": b"Cast", "safetensors": b'"F16"'}[name] in path.read_bytes()


@pytest.mark.parametrize("name", ["onnx", "openvino"])
def test_eight_bits_keep_the_label_maps(
    model: Path, volumes: Path, tmp_path: Path, name: Any, run_lunet: RunLunet
) -> None:
    """In processes of their own: one that had computed in eight bits by both did not go on.

    Seen with AMX on a virtual machine (Linux 6.18), which could not deliver the next handled
    signal.
    """
    pytest.importorskip(NEEDS[name])
    if name == "openvino":
        pytest.importorskip("nncf")
    path = tmp_path / f"int8{FORMATS[name]}"
    how = ["--format", name, "--int8", "--calibrate", volumes, "--check", volumes]
    done = run_lunet("export", model, *how, "-o", path)  # which keeps nothing below a Dice of 0.95
    assert done.returncode == 0, done.stderr
    text = path.read_bytes()
    assert b"QuantizeLinear" in text or b"FakeQuantize" in text
    done = run_lunet("predict", path, volumes / "case0.nii.gz", "-o", tmp_path / "mask.nii.gz")
    assert done.returncode == 0, done.stderr
    assert sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "mask.nii.gz"))).max() == 2


def test_file_that_disagrees_is_not_kept(
    model: Path, volumes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("safetensors")
    write = module.write_format

    def write_wrongly(network: torch.nn.Module, *rest: Any, **options: Any) -> None:
        network.head[1].bias.data[0] += 30
        write(network, *rest, **options)
        network.head[1].bias.data[0] -= 30

    monkeypatch.setattr(module, "write_format", write_wrongly)
    with torch.no_grad(), pytest.raises(ExportError, match="was not kept"):
        export(
            model,
            ExportOptions(format="safetensors", output=tmp_path / "a.safetensors", check=volumes),
        )
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_not_overwritten(model: Path, volumes: Path, tmp_path: Path) -> None:
    (tmp_path / "a.pt2").write_text("mine")
    with pytest.raises(OutputError, match="is there already"):
        export(
            model, ExportOptions(format="torch-export", output=tmp_path / "a.pt2", check=volumes)
        )
    assert (tmp_path / "a.pt2").read_text() == "mine"


def test_weights_of_another_model_are_not_overwritten(
    model: Path, volumes: Path, tmp_path: Path
) -> None:
    pytest.importorskip("openvino")
    (tmp_path / "a.bin").write_text("mine")
    with pytest.raises(OutputError, match=r"a\.bin: is there already"):
        export(model, ExportOptions(format="openvino", output=tmp_path / "a.xml", check=volumes))


def test_network_without_data_is_compared_on_phantoms(
    make_threshold_model: Make, tmp_path: Path
) -> None:
    model = make_threshold_model(
        tmp_path / "run" / "best_model.pt",
        config={"data": {"root": str(tmp_path / "gone")}},
        spec=SMALL,
    )
    events: list[str] = []
    result = export(
        model,
        ExportOptions(format="torch-export", output=tmp_path / "a.pt2"),
        on_event=lambda e: events.append(str(e)),
    )
    assert result.agreement.cases == "phantom volumes"
    assert any(
        event.startswith("warning: compared on built-in phantom volumes") for event in events
    )


def test_graph_that_leaves_out_the_zeros_is_not_kept(
    model: Path, volumes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network of random weights, for which zeros around the image are not nothing."""
    values = torch.load(model, weights_only=True)
    values["window"] = [32, 32, 32]
    generator = torch.Generator().manual_seed(0)
    for name, tensor in values["weights"].items():
        if name.endswith(("weight", "bias")):
            tensor.normal_(0, 0.5, generator=generator)
    torch.save(values, tmp_path / "model.pt")
    write = module.write_format
    monkeypatch.setattr(
        module,
        "write_format",
        lambda *rest, window, calibration: write(*rest, window=(1, 1, 1), calibration=calibration),
    )
    with pytest.raises(ExportError, match="was not kept"):
        export(
            tmp_path / "model.pt",
            ExportOptions(format="torch-export", output=tmp_path / "a.pt2", check=volumes),
        )
    assert not (tmp_path / "a.pt2").exists()
    monkeypatch.undo()
    kept = export(
        tmp_path / "model.pt",
        ExportOptions(format="torch-export", output=tmp_path / "a.pt2", check=volumes),
    )
    assert kept.agreement.documented_dice == 1.0


def test_suffix_is_that_of_the_format(model: Path) -> None:
    with pytest.raises(OutputError, match=r"torch-export files end in \.pt2"):
        export(model, ExportOptions(format="torch-export", output=Path("a.onnx")))
