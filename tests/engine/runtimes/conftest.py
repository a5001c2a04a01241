"""Small networks of every family, with the statistics of a trained one."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest
import torch

from lunet_cli.config.network import Family, NetworkSpec
from lunet_cli.engine.networks import build_network
from lunet_cli.engine.networks.blocks import SegmentationNetwork
from lunet_cli.engine.runtimes import onnx_runtime, openvino_runtime

# Every operator of the families, in three levels; several channels and classes.
SPECS: dict[Family, NetworkSpec] = {
    "unet": NetworkSpec("unet", (2, 4, 8), 2, 2, 3, 0.1),
    "lunet": NetworkSpec("lunet", (3, 3, 3), 3, 2, 3, 0.1),
    "unetpp": NetworkSpec("unetpp", (1, 2, 4), 2, 2, 3, 0.1),
    "lunetpp": NetworkSpec("lunetpp", (2, 2, 2), 1, 2, 3, 0.1),
    "mednext": NetworkSpec("mednext", (2, 4, 8), 1, 2, 3, 0.1, 3, (2, 3, 2, 3, 2), (1, 1, 1, 1, 1)),
}


@functools.cache
def make_network(spec: NetworkSpec, *, with_negative_scales: bool) -> SegmentationNetwork:
    """A network in evaluation mode with random weights and statistics, its scales of any sign."""
    torch.manual_seed(0)
    network = build_network(spec).eval().requires_grad_(False)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            statistics = dict(module.named_buffers())
            statistics["running_mean"].normal_()
            statistics["running_var"].uniform_(0.5, 2.0)
            module.weight.uniform_(0.5, 1.5)
            module.bias.normal_()
            if with_negative_scales:
                module.weight[::2] *= -1
    return network


# Converting takes far longer than all that is tested with its result.
CONVERSIONS = {
    (onnx_runtime, "to_onnx"): functools.cache(onnx_runtime.to_onnx),
    (openvino_runtime, "to_openvino"): functools.cache(openvino_runtime.to_openvino),
}


@pytest.fixture(autouse=True)
def _convert_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for (module, name), converted in CONVERSIONS.items():
        monkeypatch.setattr(module, name, converted)


@pytest.fixture(params=SPECS)
def network(request: pytest.FixtureRequest) -> SegmentationNetwork:
    """A network of each of the five families."""
    return make_network(SPECS[request.param], with_negative_scales=False)


@pytest.fixture
def network_of() -> Callable[..., SegmentationNetwork]:
    """A network of the named family."""

    def make(family: Family, *, with_negative_scales: bool = False) -> SegmentationNetwork:
        return make_network(SPECS[family], with_negative_scales=with_negative_scales)

    return make


@pytest.fixture(scope="session")
def network_from() -> Callable[..., SegmentationNetwork]:
    """A network of a specification, with random weights and statistics."""

    def make(spec: NetworkSpec, *, with_negative_scales: bool = True) -> SegmentationNetwork:
        return make_network(spec, with_negative_scales=with_negative_scales)

    return make
