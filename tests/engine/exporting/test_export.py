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
import torch.nn.functional as F

from lunet_cli.config.options import PredictionOptions
from lunet_cli.config.presets import parse_preset
from lunet_cli.engine.checkpoints.models import load_model
from lunet_cli.engine.exporting import export as module
from lunet_cli.engine.exporting import plain
from lunet_cli.engine.exporting.export import ExportOptions, export
from lunet_cli.engine.inference.predictor import Predictor
from lunet_cli.engine.networks import build_network
from lunet_cli.engine.runtimes.tracing import drop_assertions, trace
from lunet_cli.errors import CheckpointError, ConfigError, ExportError, LunetError, OutputError
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
    return make_threshold_model(
        folder / "best_model.pt", thresholds=(60.5, 100.5), activation="softmax"
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
    result = export(model, ExportOptions(name, path, "fp16", check=volumes))
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
    """In processes of their own: a process in which both tools had computed in eight bits did not survive a signal.

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


def test_weights_of_another_model_are_not_overwritten(
    model: Path, volumes: Path, tmp_path: Path
) -> None:
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
        new.writestr(
            f"{old.namelist()[0].partition('/')[0]}/data/sample_inputs/evil.pt", buffer.getvalue()
        )
    with pytest.raises(CheckpointError, match="holds more than tensors"):
        load_model(evil)
    assert not (tmp_path / "ran").exists()


def test_network_without_data_is_compared_on_phantoms(
    make_threshold_model: Make, tmp_path: Path
) -> None:
    model = make_threshold_model(
        tmp_path / "run" / "best_model.pt", config={"data": {"root": str(tmp_path / "gone")}}
    )
    events: list[str] = []
    result = export(
        model,
        ExportOptions("torch-export", tmp_path / "a.pt2"),
        on_event=lambda e: events.append(str(e)),
    )
    assert result.agreement.cases == "phantom volumes"
    assert any(
        event.startswith("warning: compared on built-in phantom volumes") for event in events
    )


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        (ExportOptions("safetensors", weights="int8"), ConfigError, "no quantised networks"),
        (ExportOptions("torch-export", weights="fp16"), ConfigError, "no fp16 convolution"),
        (
            ExportOptions("torch-export", Path("a.onnx")),
            OutputError,
            r"torch-export files end in \.pt2",
        ),
    ],
)
def test_what_a_format_cannot_hold(
    model: Path, options: ExportOptions, kind: type[LunetError], message: str
) -> None:
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
    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10
    )
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


def test_script_of_the_guide_is_what_exports_are_compared_with() -> None:
    script = GUIDE.read_text(encoding="utf-8").partition("```python\n")[2].partition("```")[0]
    assert script == Path(plain.__file__).read_text(encoding="utf-8")
    assert "lunet_cli" not in script
    assert "torch" not in script


def test_script_of_the_guide_gives_the_label_map(
    volumes: Path, tmp_path: Path, make_threshold_model: Make
) -> None:
    """In a process of its own: two channels, other axes, another spacing, larger and smaller than the window."""
    pytest.importorskip("onnxscript")
    model = make_threshold_model(
        tmp_path / "model.pt",
        thresholds=(100.37,),
        in_channels=2,
        orientation="RSA",
        spacing_mm=(2.0, 1.2, 1.0),
    )
    folder = tmp_path / "channels"
    folder.mkdir()
    images = [folder / f"case_{index:04d}.nii.gz" for index in range(2)]
    for index, image in enumerate(images):
        shutil.copy(volumes / f"case{index}.nii.gz", image)
    export(model, ExportOptions("onnx", tmp_path / "model.onnx", check=folder))
    script, out = tmp_path / "use.py", tmp_path / "mask.nii.gz"
    script.write_text(Path(plain.__file__).read_text(encoding="utf-8"), encoding="utf-8")
    subprocess.run(
        [sys.executable, script, tmp_path / "model.onnx", out, *images], check=True, timeout=120
    )
    found = sitk.ReadImage(str(out))
    assert found.GetSpacing() == pytest.approx((1.0, 1.5, 2.0))
    predictor = Predictor.load([model], options=PredictionOptions(device="cpu", precision="fp32"))
    expected = predictor.segment([sitk.ReadImage(str(image)) for image in images]).label_map()
    assert 0 < expected.sum() < expected.size
    mask = sitk.GetArrayFromImage(found)
    # At the outermost voxels, ITK and lunet round differently where two grids meet.
    assert 2 * np.count_nonzero(mask & expected) / (mask.sum() + expected.sum()) > 0.999


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
        lambda name, network, window, *rest: write(name, network, (1, 1, 1), *rest),
    )
    with pytest.raises(ExportError, match="was not kept"):
        export(
            tmp_path / "model.pt", ExportOptions("torch-export", tmp_path / "a.pt2", check=volumes)
        )
    assert not (tmp_path / "a.pt2").exists()
    monkeypatch.undo()
    kept = export(
        tmp_path / "model.pt", ExportOptions("torch-export", tmp_path / "a.pt2", check=volumes)
    )
    assert kept.agreement.documented_dice == 1.0


def test_bare_volumes_are_brought_into_the_window_inside_of_the_graph() -> None:
    """Against padding by hand: sizes below and above the window, odd differences, a batch."""
    torch.manual_seed(0)
    network = build_network(parse_preset("lunet_small_2f").spec).eval()
    window = (20, 33, 16)
    program = trace(network, window)
    drop_assertions(program)
    graph = program.module(check_guards=False)
    for size in ((16, 16, 16), (1, 1, 1), (21, 40, 5)):
        image = torch.randn(2, 1, *size)
        lack = [max(0, edge - have) for edge, have in zip(window, size, strict=True)]
        sides = [side for gap in reversed(lack) for side in (gap // 2, gap - gap // 2)]
        inside = (
            ...,
            *(slice(gap // 2, gap // 2 + have) for gap, have in zip(lack, size, strict=True)),
        )
        with torch.no_grad():
            expected = network(F.pad(image, sides))[inside]
            torch.testing.assert_close(graph(image), expected, rtol=1e-5, atol=1e-6)
