"""The parts that the convolutional families share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lunet_cli.config.layers import graph_of
from lunet_cli.engine.networks.normalization import BatchNormDropout

if TYPE_CHECKING:
    from lunet_cli.config.layers import Graph
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
        padded = self.pad(image)
        if padded is image:
            return self.compute_logits(image)
        depth, height, width = image.shape[2:]
        return self.compute_logits(padded)[:, :, :depth, :height, :width]

    def pad(self, image: Tensor) -> Tensor:
        """The image (B, in_channels, D, H, W), in a size that the total stride divides."""
        stride = self.spec.total_stride
        depth, height, width = image.shape[2:]
        behind, below, right = -depth % stride, -height % stride, -width % stride
        if not (behind or below or right):
            return image
        # Edge voxels and not zeros: a zero is an intensity of its own, and would make an edge.
        return F.pad(image, (0, right, 0, below, 0, behind), mode="replicate")

    @abstractmethod
    def compute_logits(self, image: Tensor) -> Tensor:
        """The network proper, for sizes that the total stride divides."""


class EncoderDecoder(SegmentationNetwork):
    """A network whose decoder can be looked into, step by step."""

    def compute_logits(self, image: Tensor) -> Tensor:
        """See `SegmentationNetwork`."""
        for features in self.decode(image):
            last = features
        return self.segment(last)

    @abstractmethod
    def decode(self, image: Tensor) -> Iterator[Tensor]:
        """Yield what the encoder ends with, and then what each step of the decoder makes of it.

        The last one (B, C, D, H, W) is what `segment` takes.

        Args:
            image: (B, in_channels, D, H, W), of a size that the total stride divides.
        """

    @abstractmethod
    def decoded_layers(self) -> list[str]:
        """The layers of `config.layers` whose channels `decode` yields, in the same order."""

    @abstractmethod
    def segment(self, features: Tensor) -> Tensor:
        """Turn the last features of the decoder into logits (B, out_channels, D, H, W)."""


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


def conv_unit(graph: Graph, name: str) -> ConvUnit:
    """The unit that makes a layer."""
    return ConvUnit(
        graph.channels_into(f"{name}.conv"), graph.width(name), dropout=graph.dropout(name)
    )


def conv_block(graph: Graph, name: str) -> nn.Sequential:
    """The units `NAME.0`, `NAME.1` and so on, in a row."""
    block = nn.Sequential()
    while f"{name}.{len(block)}" in graph.layers:
        block.append(conv_unit(graph, f"{name}.{len(block)}"))
    return block


def upsampling(graph: Graph, name: str) -> nn.ConvTranspose3d:
    """The learned doubling of resolution that makes a layer."""
    return nn.ConvTranspose3d(graph.channels_into(name), graph.width(name), kernel_size=2, stride=2)


def end_of(graph: Graph, name: str) -> str:
    """The last unit of a block."""
    index = 0
    while f"{name}.{index + 1}" in graph.layers:
        index += 1
    return f"{name}.{index}"


def encoder_blocks(spec: NetworkSpec) -> nn.ModuleList:
    """One block per level, the bottleneck last."""
    graph = graph_of(spec)
    return nn.ModuleList(conv_block(graph, f"encoders.{level}") for level in range(spec.num_levels))


def head(spec: NetworkSpec) -> nn.Sequential:
    """The segmenter (a unit without dropout) and the 1x1x1 convolution to the logits."""
    graph = graph_of(spec)
    segmenter = conv_unit(graph, "head.0")
    width = graph.channels_into("head.1")
    return nn.Sequential(segmenter, nn.Conv3d(width, spec.out_channels, kernel_size=1))
