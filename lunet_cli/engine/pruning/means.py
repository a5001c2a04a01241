"""What removed channels were on average stays: their readers take it into their biases."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn

from lunet_cli.config.layers import Graph, graph_of
from lunet_cli.engine.networks.blocks import SegmentationNetwork


def absorb_means(
    network: SegmentationNetwork, removed: Mapping[str, Collection[int]]
) -> SegmentationNetwork:
    """Prepare a network for the removal of channels, so that less changes by it.

    A batch normalisation stands behind each activation. Whatever a channel does, its mean behind it
    is the bias of the normalisation; even a dead channel is a constant there, on which its readers
    count. They get that mean as a bias of their own, as if the channel were the same everywhere:

    - a convolution takes it exactly, but for the border that zeros are padded to;
    - a learned doubling gives each of its eight voxels another share, and takes the mean of them;
    - behind a max pooling the mean of a channel is higher, unless it is dead.

    Where a channel has no mean that is known, as in a MedNeXt, whose normalisation keeps no
    statistics, nothing changes.

    Args:
        network: The network; it is left as it is.
        removed: Indices of the channels that will be removed, by layer.

    Returns:
        A network of the same channels, with other biases.
    """
    graph = graph_of(network.spec)
    prepared = copy.deepcopy(network)
    for operation in graph.operations.values():
        reader = prepared.get_submodule(operation.module)
        offset = 0
        for source in operation.sources:
            channels = sorted(removed.get(source, ()))
            mean = _mean(network, graph, source) if channels else None
            if mean is not None and isinstance(reader, nn.Conv3d | nn.ConvTranspose3d):
                positions = [offset + channel for channel in channels]
                _add_to_bias(reader, positions, mean[channels])
            offset += graph.width(source)
    return prepared


def _mean(network: SegmentationNetwork, graph: Graph, layer: str) -> Tensor | None:
    """Mean of each channel of a layer as its readers see it (width,); None if it is not known."""
    if layer not in graph.layers:  # the image
        return None
    modules = dict(network.named_modules())
    norm, maker = modules.get(f"{layer}.norm"), modules.get(layer)
    if isinstance(norm, nn.BatchNorm3d):
        return norm.bias.detach()
    if not isinstance(maker, nn.ConvTranspose3d) or maker.bias is None:
        return None
    read = _mean(network, graph, graph.operations[layer].sources[0])
    if read is None:
        return None
    return maker.bias.detach() + _response(maker, list(range(len(read))), read)


def _response(
    reader: nn.Conv3d | nn.ConvTranspose3d, positions: list[int], values: Tensor
) -> Tensor:
    """What a reader makes of input channels that are the same everywhere (outputs,)."""
    weight = reader.weight.detach()
    if isinstance(reader, nn.ConvTranspose3d):
        return values @ weight[positions].mean(dim=(2, 3, 4))
    return weight[:, positions].sum(dim=(2, 3, 4)) @ values


def _add_to_bias(
    reader: nn.Conv3d | nn.ConvTranspose3d, positions: list[int], values: Tensor
) -> None:
    if reader.bias is not None:
        with torch.no_grad():
            reader.bias += _response(reader, positions, values)
