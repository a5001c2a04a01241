from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import pytest
import torch
from ptflops import get_model_complexity_info
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from lunet_cli.config.presets import named_presets, parse_preset
from lunet_cli.engine.networks import build_network, count_parameters
from lunet_cli.engine.networks.blocks import SegmentationNetwork

FAMILIES = [
    "unet_small_2f",
    "lunet_small_3f",
    "unetpp_small_2f",
    "lunetpp_large_6f",
    "mednext_small",
]


class Facts(Protocol):
    name: str
    parameters: int
    conv_flops: int


def build(
    name: str, *, in_channels: int = 1, out_channels: int = 1, seed: int = 0
) -> SegmentationNetwork:
    torch.manual_seed(seed)
    return build_network(
        replace(parse_preset(name).spec, in_channels=in_channels, out_channels=out_channels)
    )


def pad_by_index(image: Tensor, stride: int) -> Tensor:
    for axis in (2, 3, 4):
        size = image.shape[axis]
        padded = -(-size // stride) * stride
        image = image.index_select(axis, torch.arange(padded).clamp(max=size - 1))
    return image


def test_the_table_is_that_of_the_named_presets(facts: dict[str, Facts]) -> None:
    assert list(facts) == [preset.name for preset in named_presets()]
    assert len(facts) == 29


def test_parameters_and_flops_are_those_of_the_table(preset_facts: Facts) -> None:
    with torch.device("meta"):
        network = build(preset_facts.name).eval()
        image = torch.zeros(1, 1, 64, 64, 64)
    with FlopCounterMode(display=False) as counter:
        network(image)
    assert count_parameters(network) == preset_facts.parameters
    assert counter.get_total_flops() == preset_facts.conv_flops


@pytest.mark.parametrize("name", ["lunet_small_4f", "unetpp_large_6f", "mednext_small"])
def test_ptflops_counts_the_same_multiplications_plus_one_addition_per_bias(
    name: str, facts: dict[str, Facts]
) -> None:
    network = build(name).eval()
    num_biased: dict[nn.Module, int] = {}
    for module in network.modules():
        if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
            module.register_forward_hook(
                lambda conv, _, output: num_biased.update({conv: output.numel()})
            )
    macs, parameters = get_model_complexity_info(
        network,
        (1, 16, 16, 16),
        as_strings=False,
        print_per_layer_stat=False,
        ignore_modules=[nn.ReLU, nn.MaxPool3d, nn.GELU],
        backend="pytorch",
        backend_specific_config={"count_functional": False},
    )
    assert parameters == facts[name].parameters
    assert (macs - sum(num_biased.values())) * 4**3 == facts[name].conv_flops // 2


@pytest.mark.parametrize("size", [(7, 33, 1), (1, 1, 1), (16, 16, 16), (17, 5, 20)])
@pytest.mark.parametrize(("in_channels", "out_channels"), [(1, 3), (2, 1)])
@pytest.mark.parametrize("name", FAMILIES)
def test_logits_have_the_size_of_the_image(
    name: str, in_channels: int, out_channels: int, size: tuple[int, int, int]
) -> None:
    network = build(name, in_channels=in_channels, out_channels=out_channels).eval()
    with torch.no_grad():
        logits = network(torch.randn(1, in_channels, *size))
    assert logits.shape == (1, out_channels, *size)
    assert logits.isfinite().all()


@pytest.mark.parametrize("name", FAMILIES)
def test_odd_sizes_see_edge_voxels_repeated_at_the_end(name: str) -> None:
    network = build(name, in_channels=2).eval()
    image = torch.randn(1, 2, 7, 18, 1)
    with torch.no_grad():
        expected = network.compute_logits(pad_by_index(image, network.spec.total_stride))
        assert torch.equal(network(image), expected[:, :, :7, :18, :1])


@pytest.mark.parametrize("name", FAMILIES)
def test_divisible_sizes_are_not_padded(name: str) -> None:
    network = build(name).eval()
    image = torch.randn(1, 1, 32, 16, 16)
    with torch.no_grad():
        assert torch.equal(network(image), network.compute_logits(image))


@pytest.mark.parametrize("name", FAMILIES)
def test_gradients_reach_every_parameter(name: str) -> None:
    network = build(name).train()
    network(torch.randn(2, 1, 32, 32, 32)).square().sum().backward()
    # A bias before a normalisation per channel and sample shifts nothing: MedNeXt's depthwise ones
    # may rest.
    without = [
        key
        for key, parameter in network.named_parameters()
        if parameter.grad is None or not (parameter.grad.any() or key.endswith("conv_dw.bias"))
    ]
    assert without == []
    assert all(
        parameter.grad.isfinite().all()
        for parameter in network.parameters()
        if parameter.grad is not None
    )


@pytest.mark.parametrize("bias", [-7.0, 7.0])
@pytest.mark.parametrize("name", FAMILIES)
def test_logits_are_not_squashed(name: str, bias: float) -> None:
    network = build(name, out_channels=2).eval()
    last = [
        module
        for module in network.modules()
        if isinstance(module, nn.Conv3d) and module.out_channels == 2
    ][-1]
    nn.init.zeros_(last.weight)
    nn.init.constant_(last.bias, bias)
    with torch.no_grad():
        assert (network(torch.randn(1, 1, 16, 16, 16)) == bias).all()


@pytest.mark.parametrize("name", FAMILIES)
def test_samples_of_a_batch_do_not_mix_in_eval_mode(name: str) -> None:
    network = build(name).eval()
    images = torch.randn(2, 1, 16, 32, 16)
    with torch.no_grad():
        alone = torch.cat([network(images[:1]), network(images[1:])])
        torch.testing.assert_close(network(images), alone, rtol=1e-4, atol=1e-5)
