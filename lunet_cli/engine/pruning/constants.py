"""What is left of a removed channel: the constant that its normalisation makes of no activation."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn

from lunet_cli.config.layers import graph_of
from lunet_cli.engine.networks.blocks import SegmentationNetwork


def keep_constants(
    network: SegmentationNetwork, removed: Mapping[str, Collection[int]]
) -> SegmentationNetwork:
    """Prepare a network for the removal of channels, so that their readers do not miss a constant.

    Channels are scored by their activations, as if a removed one were zero there. Behind the batch
    normalisation, a channel without activation is not zero, but bias - weight * mean / std, on
    which its readers count. They get what they make of it as a bias of their own:

    - a convolution exactly, but for the border, where it reads the zeros of the padding instead;
    - a learned doubling the mean of what it makes of it, which differs between its eight voxels.

    Layers without batch normalisation leave nothing: a zero there is a zero for those who read it,
    and the normalisation of a MedNeXt keeps no statistics.

    Args:
        network: The network; it is left as it is.
        removed: Indices of the channels that will be removed, by layer.

    Returns:
        A network of the same channels, with other biases.
    """
    graph = graph_of(network.spec)
    prepared = copy.deepcopy(network)
    modules = dict(prepared.named_modules())
    for operation in graph.operations.values():
        reader, offset = modules[operation.module], 0
        for source in operation.sources:
            norm, channels = modules.get(f"{source}.norm"), sorted(removed.get(source, ()))
            if isinstance(norm, nn.BatchNorm3d) and reader is not norm and channels:
                positions = [offset + channel for channel in channels]
                _add_to_bias(reader, positions, _without_activation(norm)[channels])
            offset += graph.width(source)
    return prepared


def _without_activation(norm: nn.BatchNorm3d) -> Tensor:
    """What a normalisation makes of zeros, for each channel."""
    zeros = norm.bias.new_zeros(1, norm.num_features, 1, 1, 1)
    with torch.no_grad():
        return torch.batch_norm(
            zeros,
            norm.weight,
            norm.bias,
            norm.running_mean,
            norm.running_var,
            training=False,
            momentum=0.0,
            eps=norm.eps,
            cudnn_enabled=False,
        ).flatten()


@torch.no_grad()
def _add_to_bias(reader: nn.Module, positions: list[int], values: Tensor) -> None:
    """Add what a convolution makes of input channels that have the same value everywhere."""
    assert isinstance(reader, nn.Conv3d | nn.ConvTranspose3d)
    assert reader.bias is not None
    if isinstance(reader, nn.ConvTranspose3d):
        reader.bias += values @ reader.weight[positions].mean(dim=(2, 3, 4))
    else:
        reader.bias += reader.weight[:, positions].sum(dim=(2, 3, 4)) @ values
