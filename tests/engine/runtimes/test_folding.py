from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch

from lunet_cli.engine.networks.blocks import SegmentationNetwork
from lunet_cli.engine.networks.normalization import BatchNormDropout
from lunet_cli.engine.runtimes.folding import FoldedNetwork, can_fold

NetworkOf = Callable[..., SegmentationNetwork]


@pytest.mark.parametrize("with_negative_scales", [False, True])
@pytest.mark.parametrize("family", ["unet", "lunet", "unetpp", "lunetpp"])
@pytest.mark.parametrize("size", [(16, 8, 12), (7, 9, 1)])
def test_folded_network_computes_the_same(
    network_of: NetworkOf, family: str, size: tuple[int, int, int], with_negative_scales: bool
) -> None:
    network = copy.deepcopy(network_of(family, with_negative_scales=with_negative_scales)).double()
    folded = FoldedNetwork(network).double()
    image = torch.randn(2, 2, *size, dtype=torch.double)
    expected = network(image)
    # The folded weights were rounded to float32 once, and nothing else was lost.
    assert (folded(image) - expected).abs().max() < 1e-5 * expected.abs().max()
    assert not any(isinstance(module, BatchNormDropout) for module in folded.modules())


def test_only_normalisation_behind_a_relu_can_be_folded(network_of: NetworkOf) -> None:
    assert can_fold(network_of("lunetpp"))
    assert not can_fold(network_of("mednext"))
    with pytest.raises(ValueError, match="cannot be folded"):
        FoldedNetwork(network_of("mednext"))


def test_network_itself_is_left_as_it_was(network_of: NetworkOf) -> None:
    network = network_of("unet")
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    FoldedNetwork(network)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
