from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from lunet_cli.config.network import NetworkSpec
from lunet_cli.engine.networks import build_network
from lunet_cli.engine.networks.blocks import SegmentationNetwork
from lunet_cli.engine.runtimes.plane_graph import (
    INPUT,
    Convolution,
    Doubling,
    Pooling,
    Projection,
    can_flow,
    plane_graph,
)

NetworkFrom = Callable[..., SegmentationNetwork]


def open_network(spec: NetworkSpec) -> SegmentationNetwork:
    """A network through which every voxel shows wherever it can be seen."""
    network = build_network(spec).double().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(0.1)
    return network


def test_operations_of_a_small_unet_follow_the_data(network_from: NetworkFrom) -> None:
    graph = plane_graph(network_from(NetworkSpec("unet", (2, 4), 1)))
    kinds = [type(operation) for operation in graph.operations]
    assert kinds == [
        Convolution,
        Pooling,
        Convolution,
        Doubling,
        Convolution,
        Convolution,
        Projection,
    ]
    assert [operation.sources for operation in graph.operations] == [
        (INPUT,), (0,), (1,), (2,), (3, 0), (4,), (5,)
    ]  # fmt: skip
    assert [operation.reach.level for operation in graph.operations] == [0, 1, 1, 0, 0, 0, 0]
    assert graph.stride == 2


@pytest.mark.parametrize(
    "spec",
    [
        NetworkSpec("lunet", (1, 1, 1), 1),
        NetworkSpec("lunet", (1, 1, 1), 2),
        NetworkSpec("lunetpp", (1, 1, 1), 1),
        NetworkSpec("unet", (1, 2), 3),
    ],
)
def test_reach_is_how_far_a_voxel_depends_on_others(spec: NetworkSpec) -> None:
    network, reach = open_network(spec), plane_graph(open_network(spec)).reach
    size = 8 * spec.total_stride * (spec.convs_per_block + 1)
    seen_before, seen_after = 0, 0
    # Where a voxel lies in its window of the pooling decides how far it sees.
    for place in range(size // 2, size // 2 + spec.total_stride):
        image = torch.rand(1, 1, size, spec.total_stride, spec.total_stride, dtype=torch.double)
        image.requires_grad_()
        network(image)[0, 0, place].sum().backward()
        assert image.grad is not None
        seen = image.grad[0, 0].abs().sum(dim=(1, 2)).nonzero()
        seen_before = max(seen_before, place - int(seen[0]))
        seen_after = max(seen_after, int(seen[-1]) - place)
    # A pooling passes the gradient to the largest of two neighbours only.
    assert reach.before - spec.total_stride <= seen_before <= reach.before
    assert reach.after - spec.total_stride <= seen_after <= reach.after


def test_only_batch_normalisation_lets_planes_flow(network_of: NetworkFrom) -> None:
    mednext = network_of("mednext")
    assert not can_flow(mednext)
    with pytest.raises(ValueError, match="the planes of mednext cannot flow"):
        plane_graph(mednext)
    assert can_flow(network_of("unetpp"))
