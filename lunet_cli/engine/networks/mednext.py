"""MedNeXt, the ConvNeXt-like residual network with added skips."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lunet_cli.config.layers import graph_of
from lunet_cli.engine.networks.blocks import EncoderDecoder, convolve

if TYPE_CHECKING:
    from lunet_cli.config.network import NetworkSpec


class ChannelNorm(nn.GroupNorm):
    """Group normalisation with one group per channel."""

    def __init__(self, num_channels: int) -> None:
        super().__init__(num_channels, num_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (B, C, D, H, W) over D, H, W."""
        # F.group_norm refuses a single voxel, which the bottleneck of a small volume has; its
        # normal value is 0.
        return torch.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)


class MedNeXtBlock(nn.Module):
    """Depthwise convolution, normalisation, expansion, GELU, dropout, compression, plus a residual.

    Args:
        in_channels: Width of the input.
        out_channels: Width of the output.
        hidden_channels: Width between expansion and compression.
        kernel_size: Edge of the depthwise kernel, odd.
        dropout: Probability of `Dropout3d` before the compression.
        resample: `down` halves the resolution, `up` doubles it, None keeps it and adds the input
            itself.

    References:
        arXiv:2303.09975, section 2.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        hidden_channels: int,
        kernel_size: int,
        dropout: float,
        resample: Literal["down", "up"] | None = None,
    ) -> None:
        super().__init__()
        self.resample = resample
        convolution: type[nn.Conv3d | nn.ConvTranspose3d] = nn.Conv3d
        if resample == "up":
            convolution = nn.ConvTranspose3d
        stride = 2 if resample else 1
        self.conv_dw = convolution(
            in_channels,
            in_channels,
            kernel_size,
            stride=stride,
            padding=kernel_size // 2,
            groups=in_channels,
        )
        self.norm = ChannelNorm(in_channels)
        self.conv_expand = nn.Conv3d(in_channels, hidden_channels, kernel_size=1)
        self.activation = nn.GELU()
        self.dropout = nn.Dropout3d(dropout) if dropout > 0 else nn.Identity()
        self.conv_compress = nn.Conv3d(hidden_channels, out_channels, kernel_size=1)
        # Without resampling the input is added as it is, and a checkpoint holds no weights for it.
        self.res_conv: nn.Module = nn.Identity()
        if resample:
            self.res_conv = convolution(in_channels, out_channels, 1, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, D, H, W) to (B, out_channels, ...) at the block's resolution."""
        features, residual = convolve(self.conv_dw, x), self.res_conv(x)
        if self.resample == "up":
            # A stride-2 transposed convolution gives 2n - 1 voxels: one more at the front of each
            # axis.
            front = (1, 0, 1, 0, 1, 0)
            features, residual = F.pad(features, front), F.pad(residual, front)
        hidden = self.dropout(self.activation(self.conv_expand(self.norm(features))))
        output: Tensor = self.conv_compress(hidden) + residual
        return output


class MedNeXt(EncoderDecoder):
    """Residual stages of MedNeXt blocks; stage i of the decoder undoes stage i of the encoder.

    Modules `ups` and `decoders` run from shallow (0) to deep.

    References:
        arXiv:2303.09975.
    """

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__(spec)
        graph, deepest = graph_of(spec), spec.num_levels - 1
        encoder = range(deepest)
        # In this order, since each draws its weights from the one generator: in another, the same
        # seed would start with other weights.
        self.stem = nn.Conv3d(spec.in_channels, graph.width("streams.0"), kernel_size=1)
        self.encoders = nn.ModuleList(self._stage(f"encoders.{i}") for i in encoder)
        self.downs = nn.ModuleList(self._block(f"downs.{i}", "down") for i in encoder)
        self.bottleneck = self._stage("bottleneck")
        self.ups = nn.ModuleList(self._block(f"ups.{i}", "up") for i in encoder)
        self.decoders = nn.ModuleList(self._stage(f"decoders.{i}") for i in encoder)
        self.out_conv = nn.Conv3d(graph.width("streams.0"), spec.out_channels, kernel_size=1)

    def _block(self, name: str, resample: Literal["down", "up"] | None = None) -> MedNeXtBlock:
        graph = graph_of(self.spec)
        return MedNeXtBlock(
            graph.channels_into(f"{name}.conv_expand"),
            graph.width(graph.operations[f"{name}.conv_compress"].target),
            hidden_channels=graph.width(name),
            kernel_size=self.spec.kernel_size,
            dropout=graph.dropout(name),
            resample=resample,
        )

    def _stage(self, name: str) -> nn.Sequential:
        graph = graph_of(self.spec)
        blocks = nn.Sequential()
        while f"{name}.{len(blocks)}" in graph.layers:
            blocks.append(self._block(f"{name}.{len(blocks)}"))
        return blocks

    def decode(self, image: Tensor) -> Iterator[Tensor]:
        """See `EncoderDecoder`."""
        x = self.stem(image)
        skips = []
        for encoder, down in zip(self.encoders, self.downs, strict=True):
            x = encoder(x)
            skips.append(x)
            x = down(x)
        x = self.bottleneck(x)
        yield x
        for up, decoder, skip in reversed(list(zip(self.ups, self.decoders, skips, strict=True))):
            x = decoder(up(x) + skip)
            yield x

    def decoded_layers(self) -> list[str]:
        """See `EncoderDecoder`."""
        return [f"streams.{level}" for level in reversed(range(self.spec.num_levels))]

    def segment(self, features: Tensor) -> Tensor:
        """See `EncoderDecoder`."""
        logits: Tensor = self.out_conv(features)
        return logits
