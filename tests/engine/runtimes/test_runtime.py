from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lunet_cli.config.network import NetworkSpec
from lunet_cli.config.vocabulary import RUNTIMES
from lunet_cli.engine.networks import build_network
from lunet_cli.engine.networks.blocks import SegmentationNetwork
from lunet_cli.engine.runtimes import runtime as module
from lunet_cli.engine.runtimes.exported_graph import ExportedGraph
from lunet_cli.engine.runtimes.runtime import (
    RuntimePlan,
    candidate_plans,
    has_precision,
    load_runtime,
)
from lunet_cli.errors import CheckpointError, ConfigError, DeviceError, MissingDependencyError

SHAPES = [(1, 2, 16, 16, 16), (2, 2, 9, 12, 7), (1, 2, 1, 5, 8)]
TOLERANCE = {"fp32": 1e-4, "bf16": 2e-2}
INSTALLED = {"onnx": ("onnxruntime", "onnxscript"), "openvino": ("openvino",)}


def require(runtime: str) -> None:
    for package in INSTALLED.get(runtime, ()):
        pytest.importorskip(package)
    if runtime == "torch-compile" and shutil.which("g++") is None:
        pytest.skip("torch-compile needs a C++ compiler")


@pytest.mark.parametrize(
    ("runtime", "precision"),
    [
        ("eager", "fp32"),
        ("torch", "fp32"),
        ("torch", "bf16"),
        ("onnx", "fp32"),
        ("openvino", "fp32"),
        ("openvino", "bf16"),
    ],
)
def test_every_runtime_agrees_in_every_family(
    network: SegmentationNetwork, runtime: str, precision: str
) -> None:
    require(runtime)
    if not has_precision("cpu", precision):
        pytest.skip("this processor has no bf16")
    forward = load_runtime(RuntimePlan(runtime, "cpu", precision), network)
    for shape in SHAPES:
        image = torch.randn(shape)
        with torch.inference_mode():
            expected, found = (
                torch.softmax(network(image), 1),
                torch.softmax(forward(image).float(), 1),
            )
        assert found.shape == expected.shape
        assert (found - expected).abs().max() < TOLERANCE[precision], shape


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the compiler about itself
def test_compiled_network_agrees() -> None:
    require("torch-compile")
    # Each kind of layer once or twice: each takes seconds to compile.
    network = build_network(NetworkSpec("lunet", (2, 2), 1, 2, 3, 0.1)).eval()
    forward = load_runtime(RuntimePlan("torch-compile", "cpu", "fp32"), network)
    image = torch.randn(1, 2, 8, 8, 8)
    with torch.inference_mode():
        assert (forward(image) - network(image)).abs().max() < 1e-4


def test_runtime_leaves_the_network_as_it_was(network: SegmentationNetwork) -> None:
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with torch.inference_mode():
        load_runtime(RuntimePlan("torch", "cpu", "fp32"), network)(torch.randn(1, 2, 8, 8, 8))
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_missing_package_names_the_extra(
    network_of: Callable[..., SegmentationNetwork], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match="needs openvino") as error:
        load_runtime(RuntimePlan("openvino", "cpu", "fp32"), network_of("unet"))
    assert "lunet[openvino]" in error.value.hint
    assert {plan.runtime for plan in candidate_plans(network_of("unet"), "cpu", "auto")} == {
        "torch"
    }


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (RuntimePlan("onnx", "cpu", "bf16"), "computes in fp32"),
        (RuntimePlan("openvino", "cpu", "fp16"), "fp32 or bf16"),
        (RuntimePlan("openvino", "cuda", "fp32"), "not on cuda"),
    ],
)
def test_plan_that_a_runtime_cannot_follow(
    network_of: Callable[..., SegmentationNetwork], plan: RuntimePlan, message: str
) -> None:
    require(plan.runtime)
    with pytest.raises(DeviceError, match=message):
        load_runtime(plan, network_of("unet"))


def test_files_that_are_no_exports(tmp_path: Path) -> None:
    for name, graph_format, runtime in (
        ("a.onnx", "onnx", "onnx"),
        ("a.xml", "openvino", "openvino"),
    ):
        require(runtime)
        path = tmp_path / name
        graph, plan = ExportedGraph(path, graph_format), RuntimePlan(runtime, "cpu", "fp32")
        with pytest.raises(CheckpointError, match="there is no such file"):
            load_runtime(plan, graph)
        path.write_bytes(b"no graph")
        path.with_suffix(".bin").write_bytes(b"")
        with pytest.raises(CheckpointError, match="is damaged or not"):
            load_runtime(plan, graph)
    with pytest.raises(ConfigError, match="cannot be computed by the runtime torch"):
        load_runtime(RuntimePlan("torch", "cpu", "fp32"), graph)


def test_runtime_of_the_cpu_is_not_sent_to_an_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        module, "resolve_device", lambda choice: "cuda" if choice == "auto" else choice
    )
    assert module.device_for("onnx", "auto") == "cpu"
    assert module.device_for("torch", "auto") == "cuda"
    assert module.device_for("openvino", "cuda") == "cuda"


def test_every_runtime_has_its_row() -> None:
    assert set(module.RUNTIMES_OF_NETWORKS) == set(RUNTIMES)
