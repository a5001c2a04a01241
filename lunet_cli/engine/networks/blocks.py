"""The parts that the convolutional families share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lunet_cli.engine.networks.normalization import BatchNormDropout

if TYPE_CHECKING:
    from lunet_cli.config.network import NetworkSpec


class SegmentationNetwork(nn.Module, ABC):
    """A network that accepts any spatial size.

    Sizes that the total stride does not divide are padded at the end of each axis with the edge
    voxels and the logits cropped back, so that skips and upsampled features always meet.
    """

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.spec = spec

    def forward(self, image: Tensor) -> Tensor:
        """Compute logits (B, out_channels, D, H, W) of an image (B, in_channels, D, H, W)."""
        stride = self.spec.total_stride
        depth, height, width = image.shape[2:]
        behind, below, right = -depth % stride, -height % stride, -width % stride
        if not (behind or below or right):
            return self.compute_logits(image)
        # Edge voxels and not zeros: a zero is an intensity of its own, and would make an edge.
        padded = F.pad(image, (0, right, 0, below, 0, behind), mode="replicate")
        return self.compute_logits(padded)[:, :, :depth, :height, :width]

    @abstractmethod
    def compute_logits(self, image: Tensor) -> Tensor:
        """The network proper, for sizes that the total stride divides."""


def convolve(convolution: nn.Module, x: Tensor) -> Tensor:
    """Apply a convolution, in float32 where autocast on a CPU would make its weight gradient wrong.

    With torch 2.13, the bf16 kernel for the weight gradient of a 3x3x3 convolution in channels-last
    reads past inputs that are 1 to 3 voxels deep: the gradient is noise or NaN. Such levels are
    small, so float32 costs nothing.
    """
    if torch.is_autocast_enabled("cpu") and x.device.type == "cpu" and min(x.shape[2:]) < 4:
        with torch.autocast("cpu", enabled=False):
            exact: Tensor = convolution(x.float())
        return exact
    output: Tensor = convolution(x)
    return output


class ConvUnit(nn.Module):
    """3x3x3 convolution, ReLU, batch normalisation *after* the activation, dropout.

    References:
        arXiv:2512.03834, section on the architecture.
    """

    def __init__(self, in_channels: int, out_channels: int, *, dropout: float) -> None:
        super().__init__()
        self.conv = nn.Conv3d(in_channels, out_channels, kernel_size=3, padding=1)
        self.activation = nn.ReLU(inplace=True)
        self.norm = BatchNormDropout(out_channels, dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, D, H, W) to (B, out_channels, D, H, W)."""
        output: Tensor = self.norm(self.activation(convolve(self.conv, x)))
        return output


class ConvBlock(nn.Sequential):
    """`num_convs` units in a row, the first of which changes the width."""

    def __init__(
        self, in_channels: int, out_channels: int, *, num_convs: int, dropout: float
    ) -> None:
        super().__init__()
        for width in [in_channels] + [out_channels] * (num_convs - 1):
            self.append(ConvUnit(width, out_channels, dropout=dropout))


class Head(nn.Sequential):
    """The segmenter (a unit without dropout) and the 1x1x1 convolution to the logits."""

    def __init__(self, width: int, out_channels: int) -> None:
        super().__init__(
            ConvUnit(width, width, dropout=0.0), nn.Conv3d(width, out_channels, kernel_size=1)
        )


def encoder_blocks(spec: NetworkSpec) -> nn.ModuleList:
    """One block per level, the bottleneck last."""
    widths = (spec.in_channels, *spec.channels)
    return nn.ModuleList(
        ConvBlock(a, b, num_convs=spec.convs_per_block, dropout=spec.dropout)
        for a, b in pairwise(widths)
    )


def decoder_block(spec: NetworkSpec, level: int, in_channels: int, *, is_last: bool) -> ConvBlock:
    """A decoder block; the last one gives one convolution to the segmenter."""
    num_convs = spec.convs_per_block
    if is_last:
        # As in the authors' release: the segmenter of the head is the last unit of this block.
        num_convs = max(1, num_convs - 1)
    return ConvBlock(in_channels, spec.channels[level], num_convs=num_convs, dropout=spec.dropout)


def upsample(spec: NetworkSpec, level: int) -> nn.ConvTranspose3d:
    """The learned doubling of resolution from `level + 1` to `level`."""
    return nn.ConvTranspose3d(
        spec.channels[level + 1], spec.channels[level], kernel_size=2, stride=2
    )
