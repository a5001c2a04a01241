"""A network as a browser computes it well: the same function by other operations."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn

_Network = TypeVar("_Network", bound=nn.Module)


class ShuffledUpsampling(nn.Module):
    """A transposed convolution whose kernel is its stride, as a 1x1x1 convolution and a shuffle.

    No two of its outputs overlap, so that each voxel becomes a block of voxels by itself. ONNX
    Runtime in WebAssembly takes far less time for it (docs/adr/0037).

    Args:
        layer: The transposed convolution.
    """

    def __init__(self, layer: nn.ConvTranspose3d) -> None:
        super().__init__()
        self.block = tuple(layer.kernel_size)
        voxels = self.block[0] * self.block[1] * self.block[2]
        self.num_channels = layer.out_channels
        self.spread = nn.Conv3d(layer.in_channels, layer.out_channels * voxels, 1)
        with torch.no_grad():
            weight = layer.weight.permute(1, 2, 3, 4, 0)
            self.spread.weight.copy_(weight.reshape(self.spread.weight.shape))
            bias = torch.zeros(layer.out_channels)
            if layer.bias is not None:
                bias = layer.bias
            self.spread.bias = nn.Parameter(bias.repeat_interleave(voxels))

    def forward(self, x: Tensor) -> Tensor:
        """From (B, C, D, H, W) to (B, K, D, H, W) of a multiple of the size."""
        batch, (depth, height, width) = x.shape[0], x.shape[2:]
        blocks: Tensor = self.spread(x)
        blocks = blocks.reshape(batch, -1, *self.block, depth, height, width)
        z, y, x_edge = self.block
        size = (depth * z, height * y, width * x_edge)
        return blocks.permute(0, 1, 5, 2, 6, 3, 7, 4).reshape(batch, self.num_channels, *size)


class ExactChannelNorm(nn.Module):
    """The normalisation of each channel by itself, from means of means.

    ONNX Runtime in WebAssembly adds up all voxels of a channel one by one in float32, which leaves
    4e-5 of a value; this leaves 5e-7, for twice the time.

    Args:
        layer: A normalisation of one channel per group.
    """

    def __init__(self, layer: nn.GroupNorm) -> None:
        super().__init__()
        self.eps = layer.eps
        shape = (1, layer.num_channels, 1, 1, 1)
        self.weight = nn.Parameter(layer.weight.detach().reshape(shape))
        self.bias = nn.Parameter(layer.bias.detach().reshape(shape))

    def forward(self, x: Tensor) -> Tensor:
        """See `GroupNorm`; (B, C, D, H, W)."""
        centred = x - _mean(x)
        deviation = torch.sqrt(_mean(centred * centred) + self.eps)
        return centred / deviation * self.weight + self.bias


def _mean(x: Tensor) -> Tensor:
    """Mean of each channel, axis by axis: sums of few values lose little."""
    for axis in (4, 3, 2):
        x = x.mean(axis, keepdim=True)
    return x


def for_browser(network: _Network) -> _Network:
    """A copy of a network that a browser computes faster, or more exactly."""
    found = copy.deepcopy(network)
    for parent in list(found.modules()):
        for name, layer in parent.named_children():
            if isinstance(layer, nn.ConvTranspose3d) and _makes_blocks(layer):
                setattr(parent, name, ShuffledUpsampling(layer))
            elif isinstance(layer, nn.GroupNorm) and layer.num_groups == layer.num_channels:
                setattr(parent, name, ExactChannelNorm(layer))
    return found.eval()


def _makes_blocks(layer: nn.ConvTranspose3d) -> bool:
    """Whether each voxel becomes a block of its own, from all channels."""
    plain = (layer.padding, layer.output_padding, layer.dilation)
    if plain != ((0, 0, 0), (0, 0, 0), (1, 1, 1)):
        return False
    return layer.kernel_size == layer.stride and layer.groups == 1
