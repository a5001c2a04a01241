from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from lunet_cli.config.network import Family, NetworkSpec
from lunet_cli.engine.networks import build_network
from lunet_cli.engine.networks.blocks import SegmentationNetwork
from lunet_cli.engine.runtimes.plane_graph import plane_graph
from lunet_cli.engine.runtimes.plane_queues import PlaneRing
from lunet_cli.engine.runtimes.plane_stream import PlaneStream

NetworkFrom = Callable[..., SegmentationNetwork]

CPU = torch.device("cpu")


def flow(
    network: SegmentationNetwork,
    image: Tensor,
    *,
    per_step: int = 4,
    pushed: int = 3,
    dtype: torch.dtype = torch.float32,
    mirrored: tuple[int, ...] = (),
) -> Tensor:
    """Logits (1, K, D, H, W) of an image (1, C, D, H, W) whose planes are sent through."""
    depth, height, width = image.shape[2:]
    stream = PlaneStream(
        plane_graph(network, mirrored=mirrored),
        (depth, height, width),
        per_step=per_step,
        device=CPU,
        dtype=dtype,
    )

    def run() -> Iterator[Tensor]:
        for block in image[0].permute(1, 2, 3, 0).contiguous().to(dtype).split(pushed):
            yield from stream.push(block)

    return torch.cat(list(run())).permute(3, 0, 1, 2)[None]


def uneven_unet() -> SegmentationNetwork:
    """A U-Net as pruning leaves it: every layer of another width."""
    widths = (5, 3, 2, 7, 6, 1, 4, 1, 3, 2, 9, 8)
    spec = NetworkSpec("unet", (4, 4, 4), 2, 1, 2, widths=widths)
    return build_network(spec).eval().requires_grad_(False)


@st.composite
def cases(draw: st.DrawFn) -> tuple[NetworkSpec, tuple[int, int, int], int, int]:
    family: Family = draw(st.sampled_from(["unet", "lunet", "unetpp", "lunetpp"]))
    levels = draw(st.integers(1, 5))
    channels = tuple(draw(st.lists(st.integers(1, 9), min_size=levels, max_size=levels)))
    spec = NetworkSpec(
        family,
        channels,
        draw(st.integers(1, 3)),
        draw(st.integers(1, 3)),
        draw(st.integers(1, 4)),
    )
    stride = spec.total_stride
    depth, height, width = (stride * draw(st.integers(1, max(1, 32 // stride))) for _ in range(3))
    return spec, (depth, height, width), draw(st.integers(1, 9)), draw(st.integers(1, 20))


@settings(max_examples=15, deadline=None)
@given(cases())
@example((NetworkSpec("lunet", (4, 4, 4, 4, 4), 2, 1, 3), (96, 16, 32), 8, 8))
@example((NetworkSpec("unetpp", (16, 24), 1, 2, 1), (2, 2, 34), 1, 1))
def test_planes_that_flow_give_the_logits_of_the_whole_volume(
    network_from: NetworkFrom, case: tuple[NetworkSpec, tuple[int, int, int], int, int]
) -> None:
    spec, size, per_step, pushed = case
    network = network_from(spec)
    torch.manual_seed(1)
    image = torch.randn(1, spec.in_channels, *size)
    found = flow(network, image, per_step=per_step, pushed=pushed)
    expected = network(image)
    assert found.shape == expected.shape
    assert (found.sigmoid() - expected.sigmoid()).abs().max() <= 1e-5


def test_pruned_network_of_uneven_widths_flows() -> None:
    torch.manual_seed(0)
    network, image = uneven_unet(), torch.randn(1, 1, 12, 8, 20)
    assert (flow(network, image) - network(image)).abs().max() < 1e-5


@pytest.mark.parametrize("family", ["lunet", "unetpp"])
def test_bf16_stays_near_the_whole_pass_in_fp32(network_from: NetworkFrom, family: Family) -> None:
    spec = NetworkSpec(family, (4, 4, 4), 2, 1, 2)
    network = network_from(spec)
    torch.manual_seed(0)
    image = torch.randn(1, 1, 16, 24, 16)
    found = flow(network, image, dtype=torch.bfloat16).float()
    assert (found.sigmoid() - network(image).sigmoid()).abs().max() < 2e-2


@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (0, 1, 2)])
def test_mirrored_network_sees_the_mirrored_volume(
    network_from: NetworkFrom, axes: tuple[int, ...]
) -> None:
    network = network_from(NetworkSpec("lunet", (3, 3, 3), 2, 1, 2))
    torch.manual_seed(0)
    image = torch.randn(1, 1, 12, 8, 20)
    flipped = [axis + 2 for axis in axes]
    expected = network(image.flip(flipped)).flip(flipped)
    assert (flow(network, image, mirrored=axes) - expected).abs().max() < 1e-5


@pytest.mark.parametrize("family", ["lunet", "unetpp"])
@pytest.mark.parametrize("per_step", [1, 4])
def test_what_waits_is_bounded_however_deep_the_volume(
    network_from: NetworkFrom, family: Family, per_step: int
) -> None:
    graph = plane_graph(network_from(NetworkSpec(family, (1, 1, 1, 1), 2, 1, 1)))
    most: list[int] = []
    for depth in (96, 160):
        stream = PlaneStream(
            graph, (depth, 8, 8), per_step=per_step, device=CPU, dtype=torch.float32
        )
        waiting = 0
        for _ in range(0, depth, per_step):
            for _ in stream.push(torch.zeros(per_step, 8, 8, 1)):
                waiting = max(waiting, stream.num_waiting)
            waiting = max(waiting, stream.num_waiting)
        most.append(waiting)
    assert most[0] == most[1]


@pytest.mark.parametrize("family", ["lunet", "unet", "unetpp"])
@pytest.mark.parametrize("per_step", [1, 2, 8])
def test_rings_have_the_room_that_is_counted(
    network_from: NetworkFrom, family: Family, per_step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    grown: list[bool] = []
    grow = PlaneRing._grow

    def noted(ring: PlaneRing, block: Tensor, num_kept: int) -> None:
        grown.append(num_kept > 0)
        grow(ring, block, num_kept)

    monkeypatch.setattr(PlaneRing, "_grow", noted)
    network = network_from(NetworkSpec(family, (1, 1, 1, 1, 1), 2, 1, 1))
    flow(network, torch.zeros(1, 1, 192, 16, 16), per_step=per_step, pushed=per_step)
    assert grown
    assert not any(grown)
