from __future__ import annotations

import pytest
import torch

from lunet_cli.config.network import NetworkSpec
from lunet_cli.engine.networks import build_network
from lunet_cli.engine.networks.blocks import SegmentationNetwork

# Every topology, with two image channels and two classes, small enough to try each layer.
SPECS = {
    "unet": NetworkSpec("unet", (3, 4, 5), in_channels=2, out_channels=2, dropout=0.1),
    "lunet": NetworkSpec("lunet", (4, 4, 4, 4), convs_per_block=1, in_channels=2, dropout=0.1),
    "unetpp": NetworkSpec("unetpp", (3, 4, 5, 6), in_channels=2, out_channels=2, dropout=0.1),
    "lunetpp": NetworkSpec("lunetpp", (3, 3, 3), convs_per_block=3, out_channels=3, dropout=0.1),
    "mednext": NetworkSpec(
        "mednext",
        (4, 6, 8),
        in_channels=2,
        out_channels=2,
        dropout=0.1,
        expansion_ratios=(2, 3, 2, 3, 2),
        blocks_per_stage=(1, 2, 1, 2, 1),
    ),
}


@pytest.fixture(params=["unet", "unetpp"])
def conv_network(request: pytest.FixtureRequest) -> SegmentationNetwork:
    """A network of each topology that concatenates."""
    return trained_like(SPECS[request.param])


def trained_like(spec: NetworkSpec, *, seed: int = 0) -> SegmentationNetwork:
    """A network in evaluation mode whose statistics differ from channel to channel."""
    torch.manual_seed(seed)
    network = build_network(spec).eval()
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if name.endswith("running_mean"):
                tensor.uniform_(-0.5, 0.5)
            elif name.endswith(("running_var", "norm.weight")):
                tensor.uniform_(0.5, 1.5)
            elif name.endswith("norm.bias"):
                tensor.uniform_(-0.5, 0.5)
    return network


@pytest.fixture(params=SPECS)
def network(request: pytest.FixtureRequest) -> SegmentationNetwork:
    """A network of each family, as if it had been trained."""
    return trained_like(SPECS[request.param])


@pytest.fixture
def image(network: SegmentationNetwork) -> torch.Tensor:
    """Two images of an odd size."""
    return torch.randn(2, network.spec.in_channels, 9, 12, 8)
