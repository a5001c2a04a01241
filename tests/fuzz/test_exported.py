"""Manipulated exported files: damaged, of other tools, with lies in metadata, with code."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import torch

from lunet_cli.config.network import NetworkSpec
from lunet_cli.engine.checkpoints.exported_files import read_metadata
from lunet_cli.records.export import ExportMetadata, TensorDescription
from lunet_cli.records.network_card import Execution, KeptConfig
from lunet_cli.records.record import compact_json

Call = Callable[..., "subprocess.CompletedProcess[str]"]
FORMATS = {
    "onnx": ".onnx",
    "openvino": ".xml",
    "torch-export": ".pt2",
    "safetensors": ".safetensors",
}
ODD_VALUES = [
    *(
        None,
        True,
        -1,
        0,
        1,
        10**9,
        10**40,
        1e300,
        float("nan"),
        float("inf"),
        "",
        "fp8",
        "\x1b[31m",
        "a" * 100_000,
    ),
    *([], {}, [[]], [0, 0, 0], [10**9] * 3, {"a": 1}, {"a": []}, [None] * 3, [1e-300] * 3),
]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One network in each format that this environment has."""
    for package in ("onnxscript", "onnxruntime", "openvino", "safetensors"):
        pytest.importorskip(package)
    from lunet_cli.engine.checkpoints.checkpoint import ModelCard
    from lunet_cli.engine.data.labels import LabelScheme
    from lunet_cli.engine.data.preprocessing import Normalization, Preprocessing
    from lunet_cli.engine.exporting.formats import write_format
    from lunet_cli.engine.networks import build_network

    spec = NetworkSpec("lunet", (1, 1), convs_per_block=1)  # whose graph has few nodes
    scheme = LabelScheme((("liver", (1,)),), "sigmoid")
    card = ModelCard(
        spec, scheme, Preprocessing("LPS", None, Normalization("none", 40.0, 400.0)), (16, 16, 16)
    )
    folder = tmp_path_factory.mktemp("exported")
    torch.manual_seed(0)
    network = build_network(spec).eval()
    found = {}
    for name, suffix in FORMATS.items():
        found[name] = folder / f"model{suffix}"
        write_format(network, found[name], describe(card, name), window=(16, 16, 16))
    return found


def describe(card: Any, name: str) -> ExportMetadata:
    image = TensorDescription(
        name="image", axes=("batch", "channel", "z", "y", "x"), dtype="float32"
    )
    return ExportMetadata(
        architecture="lunet_small_1f",
        format=name,
        weights="fp32",
        input=image,
        output=image.model_copy(update={"name": "logits"}),
        activation="sigmoid",
        label_values={"liver": 1},
        **dict(card.to_record()),
        takes_whole_volumes=False,
        execution=Execution(device="cpu", precision="fp32", channels_last=True, compile=False),
        config=KeptConfig({"model": {"architecture": "lunet_small_1f"}}),
        versions={"lunet": "test"},
    )


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scan") / "scan.nrrd"
    voxels = np.random.default_rng(0).normal(size=(16, 16, 16)).astype(np.float32)
    sitk.WriteImage(sitk.GetImageFromArray(voxels), str(path))
    return path


@pytest.fixture
def answer(call_lunet: Call, require_calm: Any, tmp_path: Path, scan: Path) -> Callable[..., str]:
    """Run `predict` or `viz network` with a file, and look at its answer."""

    def run(path: Path, attack: str, command: str = "predict") -> str:
        masks = tmp_path / "masks"
        shutil.rmtree(masks, ignore_errors=True)
        arguments = (
            ["predict", path, scan, "-o", masks]
            if command == "predict"
            else ["viz", "network", path]
        )
        # Seconds of work: those on the wall tell more about what else the machine does.
        start = time.process_time()
        try:
            done = call_lunet(*arguments, cwd=tmp_path)
        except BaseException as error:
            raise AssertionError(f"{command} after {attack}") from error
        require_calm(done, seconds=time.process_time() - start, attack=f"{command} after {attack}")
        assert sum(line.startswith("error: ") for line in done.stderr.splitlines()) <= 1, (
            done.stderr
        )
        assert "\x1b" not in done.stderr
        return f"{done.returncode} {done.stderr}"

    return run


def places_in(values: Any, where: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = (
        values.items()
        if isinstance(values, dict)
        else enumerate(values)
        if isinstance(values, list)
        else ()
    )
    for key, item in items:
        yield (*where, key)
        yield from places_in(item, (*where, key))


def change(values: dict[str, Any], rng: np.random.Generator) -> tuple[dict[str, Any], str]:
    """A copy with one value changed or left out."""
    changed = copy.deepcopy(values)
    first = rng.choice(list(changed))
    places = [place for place in places_in(changed) if place[0] == first]
    place = places[int(rng.integers(len(places)))]
    container: Any = changed
    for key in place[:-1]:
        container = container[key]
    if rng.random() < 0.2:
        del container[place[-1]]
        return changed, f"{place}: removed"
    index = int(rng.integers(len(ODD_VALUES)))
    container[place[-1]] = ODD_VALUES[index]
    return changed, f"{place}: odd value {index}"


def put_metadata(source: Path, target: Path, text: str) -> None:
    """The same file with another description of itself."""
    if source.suffix == ".onnx":
        import onnx

        model = onnx.load_model(source)
        onnx.helper.set_model_props(model, {"lunet": text})
        onnx.save_model(model, target)
    elif source.suffix == ".xml":
        import openvino

        model = openvino.Core().read_model(source)
        model.set_rt_info(text, "lunet")
        openvino.save_model(model, target, compress_to_fp16=False)
    elif source.suffix == ".pt2":
        repack(source, target, {"extra/lunet.json": text.encode()})
    else:
        from safetensors.torch import load_file, save_file

        save_file(load_file(source), target, {"lunet": text})


def repack(source: Path, target: Path, parts: dict[str, bytes]) -> None:
    """The same archive with other parts, by the ends of their names."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = next(
                (part for end, part in parts.items() if name.endswith(f"/{end}")), old.read(name)
            )
            new.writestr(name, content)


def damage(content: bytes, rng: np.random.Generator) -> bytes:
    """Some bytes changed, left out or put in."""
    data = bytearray(content)
    where = int(rng.integers(len(data)))
    match rng.choice(["flip", "cut", "insert", "zero"]):
        case "flip":
            for _ in range(int(rng.integers(1, 20))):
                data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
        case "cut":
            del data[where:]
        case "insert":
            data[where:where] = rng.bytes(int(rng.integers(1, 50)))
        case _:
            data[where : where + 64] = bytes(len(data[where : where + 64]))
    return bytes(data)


def copy_of(source: Path, folder: Path) -> Path:
    """The file in a folder of its own, with its weights."""
    folder.mkdir(exist_ok=True)
    for path in (source, source.with_suffix(".bin")):
        if path.exists() and (path == source or source.suffix == ".xml"):
            shutil.copy(path, folder / path.name)
    return folder / source.name


@pytest.mark.parametrize("name", FORMATS)
def test_damaged_bytes(
    name: str, num_attacks: Any, files: dict[str, Path], tmp_path: Path, answer: Any
) -> None:
    rng = np.random.default_rng(7)
    for number in range(num_attacks(4, 60)):
        path = copy_of(files[name], tmp_path / "copy")
        path.write_bytes(damage(path.read_bytes(), rng))
        answer(path, f"{number} damaged bytes of {name}")


def test_damaged_weights_of_openvino(
    num_attacks: Any, files: dict[str, Path], tmp_path: Path, answer: Any
) -> None:
    rng = np.random.default_rng(8)
    for number in range(num_attacks(2, 20)):
        path = copy_of(files["openvino"], tmp_path / "copy")
        weights = path.with_suffix(".bin")
        if number % 5 == 0:
            weights.unlink()
        else:
            weights.write_bytes(weights.read_bytes()[: int(rng.integers(weights.stat().st_size))])
        assert answer(path, f"{number} weights cut").startswith("1 error: ")


@pytest.mark.parametrize("name", FORMATS)
def test_a_description_that_lies(
    name: str, num_attacks: Any, files: dict[str, Path], tmp_path: Path, answer: Any
) -> None:
    rng = np.random.default_rng(9)
    truth = json.loads(compact_json(read_metadata(files[name])))
    path = tmp_path / files[name].name
    texts = [
        "",
        "{",
        "[]",
        "null",
        "[" * 100_000,
        '{"lunet_export_version": 2}',
        "a\x1b[31m",
        "1" * 5000,
    ]
    for number in range(num_attacks(4, 60)):
        changed, attack = change(truth, rng)
        text = texts[number % len(texts)] if number % 6 == 5 else json.dumps(changed)
        put_metadata(files[name], path, text)
        answer(path, f"{number} of {name} {attack}", "predict" if number % 3 else "network")


@pytest.mark.parametrize("name", FORMATS)
def test_files_of_other_kinds(
    name: str, files: dict[str, Path], tmp_path: Path, answer: Any
) -> None:
    """Each format under the name of each other, empty, text, and a folder of that name."""
    path = tmp_path / f"other{FORMATS[name]}"
    contents = [files[other].read_bytes() for other in FORMATS if other != name]
    for content in [*contents, b"", b"\0" * 1000, b"<xml>", b"{}", b"\xff" * 8 + b"{}"]:
        path.write_bytes(content)
        path.with_suffix(".bin").write_bytes(b"")
        assert answer(path, f"another file as {name}").startswith("1 error: ")
    path.unlink()
    path.mkdir()
    assert answer(path, "a folder").startswith("1 error: ")


def test_onnx_does_not_look_outside_of_its_file(
    files: dict[str, Path], tmp_path: Path, answer: Any
) -> None:
    import onnx

    for location in ("/etc/passwd", "../weights", "weights"):
        model = onnx.load_model(files["onnx"])
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)
        path = tmp_path / "model.onnx"
        path.write_bytes(model.SerializeToString())
        assert "a tensor lies outside of the file" in answer(path, location)


def test_onnx_with_tensors_of_sizes_that_are_not_there(
    files: dict[str, Path], tmp_path: Path, answer: Any
) -> None:
    import onnx

    for dims in ([10**12], [10**6] * 3, [-1], [2**62, 4]):
        model = onnx.load_model(files["onnx"])
        model.graph.initializer[0].dims[:] = dims
        path = tmp_path / "model.onnx"
        path.write_bytes(model.SerializeToString())
        assert "a tensor has fewer values than it says" in answer(path, str(dims))


@pytest.mark.parametrize(
    ("find", "put", "what"),
    [
        (
            b'"expr_str": "Symbol(',
            b"\"expr_str\": \"__import__('os').system('touch owned') or Symbol(",
            "a size is not",
        ),
        (b'"expr_str": "Symbol(', b'"expr_str": "exec(chr(49)) or Symbol(', "a size is not"),
        (
            b'"torch.ops.aten.conv3d.default"',
            b'"torch.serialization.os.system"',
            "an operation is not one on tensors",
        ),
        (
            b'"torch.ops.aten.conv3d.default"',
            b'"math.factorial"',
            "an operation is not one on tensors",
        ),
        (
            b'"guards_code": []',
            b"\"guards_code\": [\"__import__('os').system('touch owned')\"]",
            "a guard is not",
        ),
    ],
    ids=["size", "size without quotes", "operation", "operation of another module", "guard"],
)
def test_python_in_a_program_is_not_run(
    find: bytes, put: bytes, what: str, files: dict[str, Path], tmp_path: Path, answer: Any
) -> None:
    """What PyTorch would evaluate as Python or call by name is refused before it reads the file."""
    with zipfile.ZipFile(files["torch-export"]) as archive:
        name = next(name for name in archive.namelist() if name.endswith("/models/model.json"))
        graph = json.dumps(json.loads(archive.read(name))).encode()
    assert find in graph
    repack(
        files["torch-export"],
        tmp_path / "model.pt2",
        {"models/model.json": graph.replace(find, put)},
    )
    assert what in answer(tmp_path / "model.pt2", put.decode())
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    "part", ["data/aotinductor/model/code.so", "data/constants/custom_obj_0", "extra/run.py"]
)
def test_a_program_with_parts_of_other_kinds_is_refused(
    part: str, files: dict[str, Path], tmp_path: Path, answer: Any
) -> None:
    shutil.copy(files["torch-export"], tmp_path / "model.pt2")
    with zipfile.ZipFile(tmp_path / "model.pt2", "a") as archive:
        archive.writestr(f"model/{part}", b"0")
    assert "it has parts of another kind" in answer(tmp_path / "model.pt2", part)
