from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from lunet_cli.engine.networks.blocks import convolve


@pytest.mark.parametrize("shape", list(itertools.product((1, 2, 3, 4, 6), repeat=3)))
@pytest.mark.parametrize(("stride", "groups"), [(1, 1), (2, 4)])
def test_bf16_weight_gradient_is_right_for_every_small_input(
    shape: tuple[int, int, int], stride: int, groups: int
) -> None:
    torch.manual_seed(0)
    convolution = nn.Conv3d(4, 4, 3, padding=1, stride=stride, groups=groups)
    convolution.to(memory_format=torch.channels_last_3d)
    x = torch.randn(2, 4, *shape).contiguous(memory_format=torch.channels_last_3d)
    convolution(x).square().sum().backward()
    assert convolution.weight.grad is not None
    expected = convolution.weight.grad.clone()
    convolution.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        logits = convolve(convolution, x)
    logits.float().square().sum().backward()
    assert torch.linalg.vector_norm(
        convolution.weight.grad - expected
    ) < 0.03 * torch.linalg.vector_norm(expected)
