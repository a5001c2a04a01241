from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lunet_cli.engine.runtimes.plane_graph import (
    Convolution,
    Doubling,
    Operation,
    Pooling,
    Projection,
    Reach,
)
from lunet_cli.engine.runtimes.plane_layers import Planes, make_layer
from lunet_cli.engine.runtimes.plane_queues import PlaneQueue

HERE = Reach(0, 0, 0)


def planes(count: int, height: int, width: int, *, per_step: int = 2) -> Planes:
    return Planes(
        count=count,
        height=height,
        width=width,
        per_step=per_step,
        device=torch.device("cpu"),
        dtype=torch.float32,
    )


def run(operation: Operation, sources: list[Tensor], given: Planes) -> Tensor:
    """What a layer gives for whole sources (1, C, D, H, W), as one more of them."""
    queues = [PlaneQueue() for _ in sources]
    layer = make_layer(operation, queues, [source.shape[1] for source in sources], given)
    for queue, source in zip(queues, sources, strict=True):
        queue.put(source[0].permute(1, 2, 3, 0).contiguous())
    found: list[Tensor] = []
    while (block := layer.step()) is not None:
        found.append(block)
    return torch.cat(found).permute(3, 0, 1, 2)[None]


# Widths of which 1, 2 and 8 voxels are computed at once, and channels that are copied in twos, in
# fours and one by one.
@pytest.mark.parametrize("out_channels", [1, 4, 16])
@pytest.mark.parametrize("width", [3, 6, 16])
@pytest.mark.parametrize("in_channels", [(1,), (2, 4), (4, 4), (3, 5, 1)])
def test_convolution_pads_each_channel_with_its_value(
    in_channels: tuple[int, ...], width: int, out_channels: int
) -> None:
    torch.manual_seed(0)
    total = sum(in_channels)
    operation = Convolution(
        sources=tuple(range(len(in_channels))),
        channels=out_channels,
        reach=HERE,
        weight=torch.randn(out_channels, total, 3, 3, 3, dtype=torch.double),
        bias=torch.randn(out_channels, dtype=torch.double),
        pads=torch.randn(total, dtype=torch.double),
    )
    sources = [torch.randn(1, count, 5, 4, width) for count in in_channels]
    # Without the pads, the padding is zero.
    pads = operation.pads.float().view(1, -1, 1, 1, 1)
    padded = F.pad(torch.cat(sources, dim=1) - pads, (1, 1, 1, 1, 1, 1)) + pads
    expected = F.conv3d(padded, operation.weight.float(), operation.bias.float()).relu()
    found = run(operation, sources, planes(5, 4, width))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)


def test_single_plane_is_padded_on_both_sides() -> None:
    operation = Convolution(
        sources=(0,),
        channels=1,
        reach=HERE,
        weight=torch.ones(1, 1, 3, 3, 3, dtype=torch.double),
        bias=torch.zeros(1, dtype=torch.double),
        pads=torch.full((1,), 2.0, dtype=torch.double),
    )
    # 26 neighbours of 2, and the voxel itself.
    assert run(operation, [torch.full((1, 1, 1, 1, 1), 5.0)], planes(1, 1, 1)).item() == 57


def test_pooling_takes_the_smallest_where_the_sign_is_negative() -> None:
    image = torch.arange(16.0).reshape(1, 2, 2, 2, 2)
    plain = Pooling(sources=(0,), channels=2, reach=HERE, signs=None)
    assert run(plain, [image], planes(1, 1, 1)).flatten().tolist() == [7, 15]
    signs = torch.tensor([1.0, -1.0], dtype=torch.double)
    turned = Pooling(sources=(0,), channels=2, reach=HERE, signs=signs)
    assert run(turned, [image], planes(1, 1, 1)).flatten().tolist() == [7, -8]


@pytest.mark.parametrize("width", [3, 8])
def test_doubling_is_a_transposed_convolution(width: int) -> None:
    torch.manual_seed(0)
    weight, bias = torch.randn(2, 3, 2, 2, 2).double(), torch.randn(3).double()
    operation = Doubling(
        sources=(0,),
        channels=3,
        reach=HERE,
        weight=weight,
        bias=bias.view(-1, 1, 1, 1).expand(3, 2, 2, 2),
    )
    image = torch.randn(1, 2, 3, 5, width)
    expected = F.conv_transpose3d(image, weight.float(), bias.float(), stride=2)
    torch.testing.assert_close(run(operation, [image], planes(6, 10, 2 * width)), expected)


@pytest.mark.parametrize("width", [3, 8])
def test_projection_is_a_convolution_of_single_voxels(width: int) -> None:
    torch.manual_seed(0)
    weight, bias = torch.randn(3, 2).double(), torch.randn(3).double()
    operation = Projection(sources=(0,), channels=3, reach=HERE, weight=weight, bias=bias)
    image = torch.randn(1, 2, 3, 5, width)
    expected = F.conv3d(image, weight.float()[:, :, None, None, None], bias.float())
    torch.testing.assert_close(run(operation, [image], planes(3, 5, width)), expected)
