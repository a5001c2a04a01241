from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from lunet_cli.config.layers import layers
from lunet_cli.config.network import NetworkSpec
from lunet_cli.engine.networks import build_network
from lunet_cli.engine.networks.blocks import SegmentationNetwork
from lunet_cli.engine.pruning.means import absorb_means
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
def make_constant(network: SegmentationNetwork, layer: str, channel: int) -> None:
    """Let a channel be the same everywhere, as one is that has died."""
    maker = network.get_submodule(layer)
    if isinstance(maker, nn.ConvTranspose3d):
        maker.weight[:, channel] = 0
    else:
        maker.get_submodule("norm").weight[channel] = 0  # type: ignore[operator]


def run(network: SegmentationNetwork, image: Tensor) -> Tensor:
    with torch.no_grad():
        logits: Tensor = network(image)
    return logits


def test_channels_that_are_constant_can_be_removed_without_a_trace(
    conv_network: SegmentationNetwork,
) -> None:
    network = without_borders(conv_network)
    image = torch.randn(1, 2, 8, 8, 8)
    gaps = []
    for layer in layers(network.spec):
        whole = copy.deepcopy(network)
        make_constant(whole, layer.name, 0)
        expected = run(whole, image)
        removed = {layer.name: [0]}
        smaller = without_borders(remove_channels(absorb_means(whole, removed), removed))
        torch.testing.assert_close(run(smaller, image), expected, rtol=0, atol=1e-5)
        bare = without_borders(remove_channels(whole, removed))
        gaps.append((run(bare, image) - expected).abs().max())
    assert max(gaps) > 0.01


def test_channels_that_read_each_other_can_be_removed_together(
    conv_network: SegmentationNetwork,
) -> None:
    network = without_borders(conv_network)
    removed = {layer.name: [1] for layer in layers(network.spec)}
    for name in removed:
        make_constant(network, name, 1)
    image = torch.randn(1, 2, 8, 8, 8)
    expected = run(network, image)
    smaller = without_borders(remove_channels(absorb_means(network, removed), removed))
    torch.testing.assert_close(run(smaller, image), expected, rtol=0, atol=1e-5)


def test_a_living_channel_leaves_less_of_a_gap(conv_network: SegmentationNetwork) -> None:
    """The mean of the logits moves less, where the statistics are those of the image."""
    network, image = conv_network, torch.randn(2, 2, 16, 16, 16)
    network.train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.momentum = 1.0
            nn.init.ones_(module.bias)
    run(network, image)
    network.eval()
    expected = run(network, image).mean(dim=(0, 2, 3, 4))
    gap = bare_gap = 0.0
    for layer in layers(network.spec):
        removed = {layer.name: [0]}
        kept = run(remove_channels(absorb_means(network, removed), removed), image)
        bare = run(remove_channels(network, removed), image)
        gap += float((kept.mean(dim=(0, 2, 3, 4)) - expected).abs().sum())
        bare_gap += float((bare.mean(dim=(0, 2, 3, 4)) - expected).abs().sum())
    assert gap < 0.75 * bare_gap


def test_what_keeps_no_statistics_stays_as_it_is() -> None:
    network = build_network(
        NetworkSpec(
            "mednext",
            (4, 6, 8),
            in_channels=2,
            expansion_ratios=(2, 3, 2, 3, 2),
            blocks_per_stage=(1, 1, 1, 1, 1),
        )
    )
    removed = {layer.name: [0] for layer in layers(network.spec)}
    prepared = absorb_means(network, removed).state_dict()
    for name, tensor in network.state_dict().items():
        assert torch.equal(prepared[name], tensor), name
