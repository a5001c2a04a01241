"""Taking channels out of a network: what is left computes on without them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor, nn

from lunet_cli.config.layers import Graph, graph_of, with_layers
from lunet_cli.engine.networks import network_of_weights
from lunet_cli.engine.networks.blocks import SegmentationNetwork


def remove_channels(
    network: SegmentationNetwork, removed: Mapping[str, Collection[int]]
) -> SegmentationNetwork:
    """Build the network that is left when channels are removed.

    A channel goes from the operation that makes it, from the normalisation behind that, running
    statistics included, and from every operation that reads it, wherever it stands among the
    channels that are concatenated there. All other weights stay.

    Args:
        network: The network; it is left as it is.
        removed: Indices of channels by layer (see `config.layers`), counted in the network as it
            is.

    Returns:
        A smaller network, in the same mode and on the same device.

    Raises:
        ValueError: There is no such layer or channel, or no channel of a layer would be left.
    """
    graph = graph_of(network.spec)
    kept = _kept_channels(graph, removed)
    widths = {name: len(channels) for name, channels in kept.items()}
    smaller = with_layers(network.spec, widths=widths)
    weights: dict[str, Tensor] = {}
    for operation in graph.operations.values():
        module = network.get_submodule(operation.module)
        reads = _concatenated(graph, kept, operation.sources)
        makes = kept.get(operation.target)
        for name, tensor in module.state_dict().items():
            cut = tensor
            for axis, channels in enumerate(_axes(module, name, reads, makes)):
                if channels is not None:
                    cut = cut.index_select(axis, torch.tensor(channels, device=cut.device))
            weights[f"{operation.module}.{name}"] = cut
    return network_of_weights(smaller, weights).train(network.training)


def with_dropouts(
    network: SegmentationNetwork, dropouts: Mapping[str, float]
) -> SegmentationNetwork:
    """The same network, of the very same weights, with other probabilities of dropout by layer."""
    changed = with_layers(network.spec, dropouts=dropouts)
    return network_of_weights(changed, network.state_dict()).train(network.training)


def _kept_channels(graph: Graph, removed: Mapping[str, Collection[int]]) -> dict[str, list[int]]:
    """The channels that are left of each layer.

    Raises:
        ValueError: There is no such layer or channel, or none would be left.
    """
    unknown = set(removed) - set(graph.layers)
    if unknown:
        raise ValueError(f"there is no layer {min(unknown)}")
    kept = {}
    for name, layer in graph.layers.items():
        channels = set(removed.get(name, ()))
        if not channels <= set(range(layer.width)):
            raise ValueError(f"{name} has the channels 0 to {layer.width - 1}, not {max(channels)}")
        kept[name] = sorted(set(range(layer.width)) - channels)
        if not kept[name]:
            raise ValueError(f"{name} would have no channel left")
    return kept


def _concatenated(
    graph: Graph, kept: Mapping[str, list[int]], sources: Sequence[str]
) -> list[int] | None:
    """Where the channels that are left stand among those of all sources; None for an image."""
    positions: list[int] = []
    offset = 0
    for name in sources:
        if name not in kept:
            return None
        positions += [offset + channel for channel in kept[name]]
        offset += graph.width(name)
    return positions


def _axes(
    module: nn.Module, name: str, reads: list[int] | None, makes: list[int] | None
) -> tuple[list[int] | None, ...]:
    """What is left along the first axes of a tensor of a module; None for an axis that stays."""
    if name == "num_batches_tracked":
        return ()
    is_per_channel = not isinstance(module, nn.Conv3d | nn.ConvTranspose3d) or module.groups > 1
    if is_per_channel or name == "bias":
        return (makes,)
    if isinstance(module, nn.ConvTranspose3d):
        return reads, makes
    return makes, reads
