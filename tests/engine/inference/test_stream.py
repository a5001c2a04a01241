from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn

from lunet_cli.config.network import Family, NetworkSpec
from lunet_cli.engine.inference.sliding_window import ArrayInput
from lunet_cli.engine.inference.stream import Flow, flow_through, stream_logits, usual_planes
from lunet_cli.engine.networks import build_network
from lunet_cli.engine.networks.blocks import SegmentationNetwork
from lunet_cli.engine.networks.execution import has_native_bf16
from lunet_cli.engine.runtimes.plane_graph import plane_graph
from lunet_cli.engine.runtimes.runtime import RuntimePlan, load_runtime

Size = tuple[int, int, int]


def make_network(spec: NetworkSpec) -> SegmentationNetwork:
    """A network in evaluation mode with random weights and statistics, its scales of any sign."""
    torch.manual_seed(0)
    network = build_network(spec).eval().requires_grad_(False)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            statistics = dict(module.named_buffers())
            statistics["running_mean"].normal_()
            statistics["running_var"].uniform_(0.5, 2.0)
            module.weight.uniform_(-1.5, 1.5)
            module.bias.normal_()
    return network


def make_image(spec: NetworkSpec, size: Size) -> torch.Tensor:
    torch.manual_seed(1)
    return torch.randn(spec.in_channels, *size)


@st.composite
def volumes(draw: st.DrawFn) -> tuple[NetworkSpec, Size, int, int]:
    family: Family = draw(st.sampled_from(["unet", "lunet", "unetpp", "lunetpp"]))
    levels = draw(st.integers(1, 5))
    spec = NetworkSpec(
        family,
        tuple(draw(st.lists(st.integers(1, 5), min_size=levels, max_size=levels))),
        draw(st.integers(1, 2)),
        draw(st.integers(1, 2)),
        draw(st.integers(1, 3)),
    )
    # One axis may be long: three together would take minutes.
    long = draw(st.integers(0, 2))
    edges = [draw(st.integers(1, 131 if axis == long else 24)) for axis in range(3)]
    return spec, (edges[0], edges[1], edges[2]), draw(st.integers(1, 8)), draw(st.integers(1, 40))


@settings(max_examples=20, deadline=None)
@given(volumes())
@example((NetworkSpec("lunet", (4, 4, 4, 4, 4), 2, 1, 3), (131, 17, 31), 8, 8))
@example((NetworkSpec("lunetpp", (2, 2, 2, 2), 1, 1, 1), (16, 131, 9), 4, 16))
# Thinner than the stride, along one axis and along all.
@example((NetworkSpec("unetpp", (2, 4, 8, 16), 2, 1, 2), (3, 16, 20), 8, 1))
@example((NetworkSpec("unet", (1, 2, 4, 8, 16), 1, 1, 1), (1, 1, 1), 8, 1))
def test_streamed_logits_are_those_of_the_whole_pass(
    volume: tuple[NetworkSpec, Size, int, int],
) -> None:
    spec, size, per_step, pushed = volume
    network, image = make_network(spec), make_image(spec, size)
    blocks = image.split(pushed, dim=1)
    found = torch.cat(list(stream_logits(network, blocks, size, per_step=per_step)), dim=1)
    expected = network(image[None])[0]
    assert found.shape == expected.shape
    assert (found.sigmoid() - expected.sigmoid()).abs().max() <= 1e-5


def fit_statistics(network: SegmentationNetwork) -> None:
    """Give normalisation the statistics of noise, so that outputs vary as those of a trained one.

    With random statistics, deep networks give almost the same everywhere.
    """
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.momentum = 1.0
            module.weight.uniform_(0.5, 1.5)
            module.bias.normal_(0, 0.3)
    noise = torch.randn(2, network.spec.in_channels, 40, 40, 40)
    network.train()(noise)
    network.eval()


def margin_of(logits: torch.Tensor) -> torch.Tensor:
    """By how much the most likely of sigmoid regions or of softmax classes (K, ...) leads."""
    if len(logits) == 1:
        return (2 * logits[0].sigmoid() - 1).abs()
    first, second = logits.softmax(dim=0).topk(2, dim=0).values
    return first - second


def labels_of(logits: torch.Tensor) -> torch.Tensor:
    return logits[0] > 0 if len(logits) == 1 else logits.argmax(dim=0)


@pytest.mark.skipif(not has_native_bf16(), reason="bf16 is emulated here, and slow")
@settings(max_examples=12, deadline=None, derandomize=True)
@given(volumes(), st.booleans())
@example((NetworkSpec("lunet", (4, 4, 4, 4, 4), 2, 1, 3), (40, 40, 40), 8, 8), True)
def test_bf16_is_as_near_as_the_whole_pass_in_bf16(
    volume: tuple[NetworkSpec, Size, int, int], is_fitted: bool
) -> None:
    """Both round each layer, in another order."""
    spec, size, per_step, pushed = volume
    network, image = make_network(spec), make_image(spec, size)
    if is_fitted:
        fit_statistics(network)
    blocks = image.split(pushed, dim=1)
    streamed = stream_logits(network, blocks, size, per_step=per_step, precision="bf16")
    found = torch.cat(list(streamed), dim=1)
    whole = load_runtime(RuntimePlan("torch", "cpu", "bf16"), network)(image[None])[0].float()
    exact = network(image[None])[0]
    lost = (whole.sigmoid() - exact.sigmoid()).abs().max()
    # Deep networks with statistics of their input lose 0.02 to bf16 in the whole pass, too.
    assert (found.sigmoid() - whole.sigmoid()).abs().max() <= max(2e-2, 2 * lost * is_fitted)
    assert (found.sigmoid() - exact.sigmoid()).abs().max() <= max(1e-2, 1.2 * lost)
    # Nearer to a tie than bf16 can tell, a voxel may fall to either side.
    is_certain = margin_of(exact) > 2 * max(5e-3, lost)
    same = labels_of(found) == labels_of(whole)
    assert same[is_certain].float().sum() >= 0.9999 * is_certain.sum()


@pytest.mark.parametrize("mirrored", [(), (1,), (0, 1, 2)])
@pytest.mark.parametrize("rows", [(0, 9), (30, 41), (57, 75)])
def test_band_of_rows_is_that_of_the_whole_volume(
    rows: tuple[int, int], mirrored: tuple[int, ...]
) -> None:
    spec = NetworkSpec("lunet", (3, 3, 3), 1, 1, 2)
    network, image = make_network(spec), make_image(spec, (10, 75, 13))
    flow = Flow(
        plane_graph(network, mirrored=mirrored),
        (10, 75, 13),
        rows=rows,
        per_step=4,
        device="cpu",
        precision="fp32",
    )
    assert flow.rows.stop - flow.rows.start < 75
    volume = ArrayInput(image.numpy())
    steps: list[int] = []
    planes = flow_through(
        [flow],
        volume,
        per_step=4,
        average=lambda each: next(iter(each)),
        on_step=lambda: steps.append(1),
    )
    found = torch.cat(list(planes), dim=1)
    flipped = [axis + 2 for axis in mirrored]
    expected = network(image[None].flip(flipped)).flip(flipped)[0, :, :, slice(*rows)]
    assert (found - expected).abs().max() < 1e-5
    assert len(steps) == 3


def test_logits_come_before_all_planes_are_in() -> None:
    spec = NetworkSpec("lunet", (2, 2, 2), 1)
    given, size = 0, (64, 8, 8)

    def planes() -> Iterator[torch.Tensor]:
        nonlocal given
        for block in make_image(spec, size).split(4, dim=1):
            given += 4
            yield block

    first = next(stream_logits(make_network(spec), planes(), size, per_step=4))
    assert first.shape[0] == 1
    # The reach of the network, and a step.
    assert given <= 32


def test_step_is_about_half_a_million_voxels() -> None:
    assert usual_planes((600, 512, 512)) == 2
    assert usual_planes((64, 64, 64)) == 64
    assert usual_planes((600, 4096, 4096)) == 2
