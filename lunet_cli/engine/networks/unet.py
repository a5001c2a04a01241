"""U-Net and, with constant channels, LUNet."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from lunet_cli.config.layers import graph_of
from lunet_cli.engine.networks.blocks import (
    EncoderDecoder,
    conv_block,
    encoder_blocks,
    end_of,
    head,
    upsampling,
)

if TYPE_CHECKING:
    from lunet_cli.config.network import NetworkSpec


class UNet(EncoderDecoder):
    """Encoder and decoder joined by skips.

    Modules `upsamples` and `decoders` run from deep to shallow, as the data does.

    References:
        Lean Unet, arXiv:2512.03834; 3D U-Net, arXiv:1606.06650.
    """

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__(spec)
        graph, steps = graph_of(spec), range(spec.num_levels - 1)
        self.encoders = encoder_blocks(spec)
        self.pool = nn.MaxPool3d(2)
        self.upsamples = nn.ModuleList(upsampling(graph, f"upsamples.{i}") for i in steps)
        self.decoders = nn.ModuleList(conv_block(graph, f"decoders.{i}") for i in steps)
        self.head = head(spec)

    def decode(self, image: Tensor) -> Iterator[Tensor]:
        """See `EncoderDecoder`."""
        *encoders, bottleneck = self.encoders
        skips = []
        x = image
        for encoder in encoders:
            x = encoder(x)
            skips.append(x)
            x = self.pool(x)
        x = bottleneck(x)
        yield x
        for up, decoder, skip in zip(self.upsamples, self.decoders, reversed(skips), strict=True):
            x = decoder(torch.cat([up(x), skip], dim=1))
            yield x

    def decoded_layers(self) -> list[str]:
        """See `EncoderDecoder`."""
        graph, num_steps = graph_of(self.spec), self.spec.num_levels - 1
        blocks = [f"encoders.{num_steps}", *(f"decoders.{index}" for index in range(num_steps))]
        return [end_of(graph, block) for block in blocks]

    def segment(self, features: Tensor) -> Tensor:
        """See `EncoderDecoder`."""
        logits: Tensor = self.head(features)
        return logits
