"""From a specification to a network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lunet_cli.engine.networks.mednext import MedNeXt
from lunet_cli.engine.networks.unet import UNet
from lunet_cli.engine.networks.unetpp import UNetPlusPlus

if TYPE_CHECKING:
    from lunet_cli.config.network import NetworkSpec
    from lunet_cli.engine.networks.blocks import SegmentationNetwork


def build_network(spec: NetworkSpec) -> SegmentationNetwork:
    """Build the network that `spec` describes, with freshly initialised weights.

    Returns:
        A module from images (B, in_channels, D, H, W) to logits (B, out_channels, D, H, W) for any
        D, H, W >= 1.
    """
    networks: dict[str, Callable[[NetworkSpec], SegmentationNetwork]] = {
        "unet": UNet,
        "unetpp": UNetPlusPlus,
        "mednext": MedNeXt,
    }
    return networks[spec.topology](spec)


def build_meta_network(spec: NetworkSpec) -> SegmentationNetwork:
    """The same network with shapes and without values; no random number is drawn for it."""
    with torch.device("meta"):
        return build_network(spec)


def network_of_weights(spec: NetworkSpec, weights: Mapping[str, Tensor]) -> SegmentationNetwork:
    """The network that `spec` describes with these very tensors; no random number is drawn for it.

    Args:
        spec: The network.
        weights: A state dictionary that fits.
    """
    network = build_meta_network(spec)
    network.load_state_dict(weights, assign=True)
    return network


def count_parameters(network: SegmentationNetwork) -> int:
    """Number of trainable parameters."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
