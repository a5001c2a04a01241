"""From a specification to a network."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

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


def count_parameters(network: SegmentationNetwork) -> int:
    """Number of trainable parameters."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
