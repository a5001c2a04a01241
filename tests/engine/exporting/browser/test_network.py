from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from lunet_cli.config.presets import parse_preset
from lunet_cli.engine.exporting.browser.network import (
    ExactChannelNorm,
    ShuffledUpsampling,
    for_browser,
)
from lunet_cli.engine.networks import build_network


@pytest.mark.parametrize("kernel", [2, 3, (1, 2, 4)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_shuffle_is_a_transposed_convolution(
    kernel: int | tuple[int, int, int], bias: bool
) -> None:
    layer = nn.ConvTranspose3d(3, 5, kernel, stride=kernel, bias=bias)
    volume = torch.randn(2, 3, 4, 5, 6)
    with torch.no_grad():
        torch.testing.assert_close(ShuffledUpsampling(layer)(volume), layer(volume))


def test_norms_are_those_of_torch() -> None:
    layer = nn.GroupNorm(4, 4)
    with torch.no_grad():
        layer.weight.uniform_(0.5, 2)
        layer.bias.uniform_(-1, 1)
        volume = 3 + 5 * torch.randn(2, 4, 6, 7, 8)
        torch.testing.assert_close(ExactChannelNorm(layer)(volume), layer(volume))


@pytest.mark.parametrize("name", ["lunet_small_1f", "unetpp_small_1f", "mednext_small"])
def test_networks_compute_the_same(name: str) -> None:
    spec = replace(parse_preset(name).spec, dropout=0.0)
    network = build_network(spec).eval()
    faster = for_browser(network)
    replaced = [m for m in faster.modules() if isinstance(m, ShuffledUpsampling)]
    left = [m for m in faster.modules() if isinstance(m, nn.ConvTranspose3d)]
    if name == "mednext_small":
        assert not replaced, "its kernels of 3 overlap"
        assert not any(isinstance(m, nn.GroupNorm) for m in faster.modules())
    else:
        assert replaced
        assert not left
    assert not any(isinstance(m, ShuffledUpsampling) for m in network.modules())
    volume = torch.randn(1, 1, 32, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(faster(volume), network(volume))
