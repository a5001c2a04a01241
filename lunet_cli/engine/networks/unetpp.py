"""UNet++ and, with constant channels, LUNet++."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
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


def node_name(level: int, column: int) -> str:
    """Key of the nested node at `level` and `column`, both from 0; column 0 is the encoder."""
    return f"{level}_{column}"


class UNetPlusPlus(EncoderDecoder):
    """A triangle of nodes: each takes all earlier ones of its level and the upsampled one below.

    References:
        UNet++, arXiv:1807.10165 (written from the paper); Lean Unet, arXiv:2512.03834.
    """

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__(spec)
        # Column by column, since a node needs the one below it in the column before.
        self.nodes: list[tuple[int, int]] = []
        for column in range(1, spec.num_levels):
            self.nodes += product(range(spec.num_levels - column), [column])
        graph = graph_of(spec)
        self.encoders = encoder_blocks(spec)
        self.pool = nn.MaxPool3d(2)
        self.upsamples = nn.ModuleDict()
        self.nested = nn.ModuleDict()
        names = [node_name(*node) for node in self.nodes]
        for name in names:
            self.upsamples[name] = upsampling(graph, f"upsamples.{name}")
        for name in names:
            self.nested[name] = conv_block(graph, f"nested.{name}")
        self.head = head(spec)

    def decode(self, image: Tensor) -> Iterator[Tensor]:
        """See `EncoderDecoder`; the steps are the nodes of full resolution."""
        first, *deeper = self.encoders
        x = first(image)
        rows: list[list[Tensor]] = [[x]]
        for encoder in deeper:
            x = encoder(self.pool(x))
            rows.append([x])
        yield rows[0][0]
        for level, column in self.nodes:
            name = node_name(level, column)
            from_below = self.upsamples[name](rows[level + 1][column - 1])
            rows[level].append(self.nested[name](torch.cat([*rows[level], from_below], dim=1)))
            if level == 0:
                yield rows[0][-1]

    def decoded_layers(self) -> list[str]:
        """See `EncoderDecoder`."""
        graph, columns = graph_of(self.spec), range(1, self.spec.num_levels)
        blocks = ["encoders.0", *(f"nested.{node_name(0, column)}" for column in columns)]
        return [end_of(graph, block) for block in blocks]

    def segment(self, features: Tensor) -> Tensor:
        """See `EncoderDecoder`."""
        logits: Tensor = self.head(features)
        return logits
