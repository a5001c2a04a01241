"""U-Net and, with constant channels, LUNet."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from lunet_cli.engine.networks.blocks import (
    Head,
    SegmentationNetwork,
    decoder_block,
    encoder_blocks,
    upsample,
)

if TYPE_CHECKING:
    from lunet_cli.config.network import NetworkSpec


class UNet(SegmentationNetwork):
    """Encoder and decoder joined by skips.

    Modules `upsamples` and `decoders` run from deep to shallow, as the data does.

    References:
        Lean Unet, arXiv:2512.03834; 3D U-Net, arXiv:1606.06650.
    """

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__(spec)
        levels = list(reversed(range(spec.num_levels - 1)))
        self.encoders = encoder_blocks(spec)
        self.pool = nn.MaxPool3d(2)
        self.upsamples = nn.ModuleList(upsample(spec, level) for level in levels)
        self.decoders = nn.ModuleList(
            decoder_block(spec, level, 2 * spec.channels[level], is_last=level == 0)
            for level in levels
        )
        self.head = Head(spec.channels[0], spec.out_channels)

    def compute_logits(self, image: Tensor) -> Tensor:
        """See `SegmentationNetwork`."""
        *encoders, bottleneck = self.encoders
        skips = []
        x = image
        for encoder in encoders:
            x = encoder(x)
            skips.append(x)
            x = self.pool(x)
        x = bottleneck(x)
        for up, decoder, skip in zip(self.upsamples, self.decoders, reversed(skips), strict=True):
            x = decoder(torch.cat([up(x), skip], dim=1))
        logits: Tensor = self.head(x)
        return logits
