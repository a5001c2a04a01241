from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import torch

from lunet_cli.engine.checkpoints.models import load_model
from lunet_cli.engine.exporting import export as module
from lunet_cli.engine.exporting.export import ExportOptions, export
from lunet_cli.engine.inference.predictor import PredictionOptions, Predictor
from lunet_cli.errors import CheckpointError, ConfigError, ExportError, LunetError, OutputError
from lunet_cli.results.exporting import ExportResult

Make = Callable[..., Path]
FORMATS = {"onnx": ".onnx", "openvino": ".xml", "torch-export": ".pt2", "safetensors": ".safetensors"}
NEEDS = {"onnx": "onnxscript", "openvino": "openvino", "safetensors": "safetensors"}
GUIDE = Path(__file__).resolve().parents[3] / "docs" / "export.md"


def write_volumes(folder: Path, count: int = 2, size: tuple[int, int, int] = (20, 18, 25)) -> Path:
    """Volumes with smooth structures on both sides of the threshold 100.5."""
    folder.mkdir(parents=True)
    z, y, x = np.ogrid[: size[0], : size[1], : size[2]]
    for index in range(count):
        volume = 100 + 80 * np.sin(z / 4 + index) * np.cos(y / 5) * np.sin(x / 6 + index)
        image = sitk.GetImageFromArray(volume.astype(np.int16))
        image.SetSpacing((1.0, 1.5, 2.0))
        sitk.WriteImage(image, str(folder / f"case{index}.nii.gz"))
    return folder


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_volumes(tmp_path_factory.mktemp("data") / "volumes")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, make_threshold_model: Make) -> Path:
    folder = tmp_path_factory.mktemp("model")
    return make_threshold_model(folder / "best_model.pt", thresholds=(60.5, 100.5), activation="softmax")


@pytest.fixture(scope="module", params=FORMATS)
def exported(
    request: pytest.FixtureRequest, model: Path, volumes: Path, tmp_path_factory: pytest.TempPathFactory
) -> ExportResult:
    """The model in each format."""
    name: Any = request.param
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    path = tmp_path_factory.mktemp("exported") / f"model{FORMATS[name]}"
    return export(model, ExportOptions(name, path, check=volumes))


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
    assert np.array_equal(label_map(alone, image), np.where(array > 100, 2, np.where(array > 60, 1, 0)))


def test_exported_file_agrees_and_says_so(exported: ExportResult) -> None:
    assert exported.agreement.max_difference < 1e-3
    assert exported.agreement.dice == 1.0
    assert exported.agreement.num_windows > 0
    assert exported.size_on_disk_bytes == sum(f.stat().st_size for f in exported.files if f.suffix != ".json")
    described = json.loads(exported.files[-1].read_text(encoding="utf-8"))
    assert described["label_values"] == {"label1": 1, "label2": 2}
    assert described["activation"] == "softmax"
    assert described["window"] == [16, 16, 16]
    assert described["agreement"]["dice"] == 1.0
    table = GUIDE.read_text(encoding="utf-8").partition("## What the file says")[2]
    keys = {match[1] for match in re.finditer(r"^\| `([a-z_0-9]+)` \|", table, re.M)}
    assert set(described) == keys, "docs/export.md lists every key of the JSON"


def test_nothing_else_is_left_in_the_folder(exported: ExportResult) -> None:
    assert {path.name for path in exported.files[0].parent.iterdir()} == {path.name for path in exported.files}


@pytest.mark.parametrize("name", ["onnx", "openvino", "safetensors"])
def test_half_precision_is_smaller_and_agrees(model: Path, volumes: Path, tmp_path: Path, name: Any) -> None:
    pytest.importorskip(NEEDS[name])
    path = tmp_path / f"half{FORMATS[name]}"
    result = export(model, ExportOptions(name, path, "fp16", check=volumes))
    assert result.weights == "fp16"
    assert result.agreement.max_difference < 2e-2
    num_values = sum(tensor.numel() for tensor in torch.load(model, weights_only=True)["weights"].values())
    if name == "openvino":
        assert path.with_suffix(".bin").stat().st_size < 3 * num_values
    else:  # whose notes on a network so small take more room than its weights
        assert {"onnx": b"Cast", "safetensors": b'"F16"'}[name] in path.read_bytes()


@pytest.mark.parametrize("name", ["onnx", "openvino"])
def test_eight_bits_keep_the_label_maps(model: Path, volumes: Path, tmp_path: Path, name: Any) -> None:
    pytest.importorskip(NEEDS[name])
    if name == "openvino":
        pytest.importorskip("nncf")
    path = tmp_path / f"int8{FORMATS[name]}"
    result = export(model, ExportOptions(name, path, "int8", calibrate=volumes, check=volumes))
    assert result.agreement.dice > 0.95
    text = path.read_bytes()
    assert b"QuantizeLinear" in text or b"FakeQuantize" in text
    assert label_map(path, volumes / "case0.nii.gz").max() == 2


def test_file_that_disagrees_is_not_kept(
    model: Path, volumes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("safetensors")
    write = module.write_format

    def write_wrongly(name: Any, network: torch.nn.Module, *rest: Any) -> None:
        network.head[1].bias.data[0] += 30
        write(name, network, *rest)
        network.head[1].bias.data[0] -= 30

    monkeypatch.setattr(module, "write_format", write_wrongly)
    with torch.no_grad(), pytest.raises(ExportError, match="was not kept"):
        export(model, ExportOptions("safetensors", tmp_path / "a.safetensors", check=volumes))
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_not_overwritten(model: Path, volumes: Path, tmp_path: Path) -> None:
    (tmp_path / "a.pt2").write_text("mine")
    with pytest.raises(OutputError, match="is there already"):
        export(model, ExportOptions("torch-export", tmp_path / "a.pt2", check=volumes))
    assert (tmp_path / "a.pt2").read_text() == "mine"


def test_weights_of_another_model_are_not_overwritten(model: Path, volumes: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    (tmp_path / "a.bin").write_text("mine")
    with pytest.raises(OutputError, match=r"a\.bin: is there already"):
        export(model, ExportOptions("openvino", tmp_path / "a.xml", check=volumes))


def test_code_in_a_file_is_not_run(exported: ExportResult, tmp_path: Path) -> None:
    if exported.format != "torch-export":
        pytest.skip("only torch-export files hold pickles")

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "ran",))

    evil = tmp_path / "evil.pt2"
    with zipfile.ZipFile(exported.files[0]) as old, zipfile.ZipFile(evil, "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
        buffer = io.BytesIO()
        torch.save(Evil(), buffer)
        new.writestr(f"{old.namelist()[0].partition('/')[0]}/data/sample_inputs/evil.pt", buffer.getvalue())
    with pytest.raises(CheckpointError, match="holds more than tensors"):
        load_model(evil)
    assert not (tmp_path / "ran").exists()


def test_network_without_data_is_compared_on_phantoms(make_threshold_model: Make, tmp_path: Path) -> None:
    model = make_threshold_model(tmp_path / "run" / "best_model.pt", config={"data": {"root": str(tmp_path / "gone")}})
    events: list[str] = []
    result = export(model, ExportOptions("torch-export", tmp_path / "a.pt2"), on_event=lambda e: events.append(str(e)))
    assert result.agreement.windows == "phantom volumes"
    assert any(event.startswith("warning: compared on built-in phantom volumes") for event in events)


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        (ExportOptions("safetensors", weights="int8"), ConfigError, "no quantised networks"),
        (ExportOptions("torch-export", weights="fp16"), ConfigError, "no fp16 convolution"),
        (ExportOptions("torch-export", Path("a.onnx")), OutputError, r"torch-export files end in \.pt2"),
    ],
)
def test_what_a_format_cannot_hold(model: Path, options: ExportOptions, kind: type[LunetError], message: str) -> None:
    with pytest.raises(kind, match=message):
        export(model, options)


def test_foreign_and_broken_files(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Relu", ["x"], ["y"])],
        "g",
        [value],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, tmp_path / "foreign.onnx")
    with pytest.raises(CheckpointError, match="was not written by lunet export"):
        load_model(tmp_path / "foreign.onnx")
    for name in ("broken.onnx", "broken.xml", "broken.pt2", "broken.safetensors"):
        (tmp_path / name).write_bytes(b"no network")
        (tmp_path / name).with_suffix(".bin").write_bytes(b"")
        with pytest.raises(CheckpointError, match="is damaged or not"):
            load_model(tmp_path / name)
        with pytest.raises(CheckpointError, match="there is no such file"):
            load_model(tmp_path / f"absent_{name}")


def test_script_of_the_guide_gives_the_label_map(model: Path, volumes: Path, tmp_path: Path) -> None:
    """The short script needs onnxruntime, numpy and SimpleITK alone, and no lunet."""
    pytest.importorskip("onnxscript")
    export(model, ExportOptions("onnx", tmp_path / "model.onnx", check=volumes))
    script = GUIDE.read_text(encoding="utf-8").partition("```python\n")[2].partition("```")[0]
    assert "lunet_cli" not in script
    assert "torch" not in script
    assert len(script.splitlines()) < 40
    (tmp_path / "use.py").write_text(script, encoding="utf-8")
    image, out = volumes / "case1.nii.gz", tmp_path / "mask.nii.gz"
    subprocess.run([sys.executable, tmp_path / "use.py", tmp_path / "model.onnx", image, out], check=True, timeout=120)
    found = sitk.ReadImage(str(out))
    assert found.GetSpacing() == pytest.approx((1.0, 1.5, 2.0))
    assert np.array_equal(sitk.GetArrayFromImage(found), label_map(model, image))
