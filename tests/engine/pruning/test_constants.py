from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from lunet_cli.config.layers import layers
from lunet_cli.engine.networks.blocks import SegmentationNetwork
from lunet_cli.engine.pruning.constants import keep_constants
from lunet_cli.engine.pruning.surgery import remove_channels


@torch.no_grad()
def without_borders(network: SegmentationNetwork) -> SegmentationNetwork:
    """A copy in which what is the same everywhere stays so.

    Its convolutions repeat the edge in place of zeros, and its doublings treat all voxels alike.
    """
    endless = copy.deepcopy(network)
    for module in endless.modules():
        if isinstance(module, nn.ConvTranspose3d):
            module.weight.copy_(module.weight.mean(dim=(2, 3, 4), keepdim=True))
        elif isinstance(module, nn.Conv3d) and module.padding != (0, 0, 0):
            module.padding_mode = "replicate"
            module._reversed_padding_repeated_twice = [1] * 6
    return endless


@torch.no_grad()
def silence(network: SegmentationNetwork, layer: str, channel: int) -> None:
    """Leave a channel without activation, as one is that has died."""
    convolution = network.get_submodule(f"{layer}.conv")
    assert isinstance(convolution, nn.Conv3d)
    assert convolution.bias is not None
    convolution.weight[channel], convolution.bias[channel] = 0, -1


def normalized_layers(network: SegmentationNetwork) -> list[str]:
    return [layer.name for layer in layers(network.spec) if "upsamples" not in layer.name]


def run(network: SegmentationNetwork, image: Tensor) -> Tensor:
    with torch.no_grad():
        logits: Tensor = network(image)
    return logits


def test_channels_without_activation_can_be_removed_without_a_trace(
    conv_network: SegmentationNetwork,
) -> None:
    network = without_borders(conv_network)
    image = torch.randn(1, 2, 8, 8, 8)
    gaps = []
    for name in normalized_layers(network):
        whole = copy.deepcopy(network)
        silence(whole, name, 0)
        expected, removed = run(whole, image), {name: [0]}
        smaller = without_borders(remove_channels(keep_constants(whole, removed), removed))
        torch.testing.assert_close(run(smaller, image), expected, rtol=0, atol=1e-5)
        bare = without_borders(remove_channels(whole, removed))
        gaps.append((run(bare, image) - expected).abs().max())
    assert max(gaps) > 0.01


def test_channels_that_read_each_other_can_be_removed_together(
    conv_network: SegmentationNetwork,
) -> None:
    network = without_borders(conv_network)
    removed = {name: [1] for name in normalized_layers(network)}
    for name in removed:
        silence(network, name, 1)
    image = torch.randn(1, 2, 8, 8, 8)
    expected = run(network, image)
    smaller = without_borders(remove_channels(keep_constants(network, removed), removed))
    torch.testing.assert_close(run(smaller, image), expected, rtol=0, atol=1e-5)


def test_where_there_is_no_constant_nothing_changes(
    network: SegmentationNetwork,
) -> None:
    removed = {layer.name: [0] for layer in layers(network.spec)}
    if network.spec.topology != "mednext":  # Doublings have no normalisation behind them.
        removed = {name: [0] for name in removed if "upsamples" in name}
    prepared = keep_constants(network, removed).state_dict()
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, prepared[name]), name


def test_a_network_is_left_as_it_is(conv_network: SegmentationNetwork) -> None:
    before = copy.deepcopy(conv_network.state_dict())
    prepared = keep_constants(conv_network, {"encoders.0.0": [0]})
    assert not torch.equal(
        prepared.get_submodule("encoders.0.1.conv").bias,  # type: ignore[arg-type]
        conv_network.get_submodule("encoders.0.1.conv").bias,  # type: ignore[arg-type]
    )
    for name, tensor in conv_network.state_dict().items():
        assert torch.equal(tensor, before[name]), name
