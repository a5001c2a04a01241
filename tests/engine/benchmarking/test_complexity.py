from __future__ import annotations

import io
import math
from dataclasses import replace

import pytest
import torch

from lunet_cli.config.network import NetworkSpec
from lunet_cli.config.presets import parse_preset
from lunet_cli.engine.benchmarking.complexity import count_complexity, saved_bytes
from lunet_cli.engine.networks import build_network

CUBE = (1, 1, 64, 64, 64)


def test_published_figures_of_every_preset(preset_facts) -> None:
    complexity = count_complexity(parse_preset(preset_facts.name).spec, CUBE)
    assert (complexity.parameters, complexity.flops, complexity.macs) == (
        preset_facts.parameters,
        preset_facts.conv_flops,
        preset_facts.conv_flops // 2,
    )


def test_ptflops_counts_the_same_convolutions(preset_facts) -> None:
    complexity = count_complexity(parse_preset(preset_facts.name).spec, CUBE)
    assert complexity.is_confirmed
    assert complexity.ptflops_conv_macs == preset_facts.conv_flops // 2


def test_ptflops_total_by_hand() -> None:
    """Two levels of one channel, one convolution per block, 2x2x2 voxels: 8 above and 1 below."""
    spec = NetworkSpec("unet", (1, 1), convs_per_block=1)
    above = 27 * 8
    convolutions = (
        above + 27 + 8 + 2 * above + above + 8
    )  # encoder, bottleneck, up, decoder, segmenter, head
    unit = 8 + 8 + 2 * 8  # bias, ReLU and the two of a normalisation
    others = (
        3 * unit + (1 + 1 + 2) + 8 + 8 + 8
    )  # three units above, one below, bias of up and head, pooling
    complexity = count_complexity(spec, (1, 1, 2, 2, 2))
    assert complexity.macs == convolutions
    assert complexity.ptflops_macs == convolutions + others


def test_batch_multiplies_everything_but_parameters() -> None:
    spec = parse_preset("mednext_small").spec
    one, three = (
        count_complexity(spec, (1, 1, 32, 32, 32)),
        count_complexity(spec, (3, 1, 32, 32, 32)),
    )
    assert three.parameters == one.parameters
    assert (three.flops, three.ptflops_macs, three.traffic_values) == (
        3 * one.flops,
        3 * one.ptflops_macs,
        3 * one.traffic_values,
    )


def test_size_that_the_stride_does_not_divide_counts_as_padded() -> None:
    spec = parse_preset("lunet_small_2f").spec
    assert (
        count_complexity(spec, (1, 1, 33, 48, 32)).flops
        == count_complexity(spec, (1, 1, 48, 48, 32)).flops
    )


def test_traffic_by_hand() -> None:
    """Reads plus writes of each layer of the same network, 8 voxels above and 1 below."""
    spec = NetworkSpec("unet", (1, 1), convs_per_block=1)
    reads = 8 + 8 + 1 + 1 + 16 + 8 + 8  # encoder, pooling, bottleneck, up, decoder, segmenter, head
    writes = 8 + 1 + 1 + 8 + 8 + 8 + 8
    assert count_complexity(spec, (1, 1, 2, 2, 2)).traffic_values == reads + writes
    step = count_complexity(spec, (2, 1, 2, 2, 2), training=True)
    assert step.traffic_values == 2 * (3 * reads + 2 * writes)


def test_training_step_costs_three_forward_passes_less_the_gradient_of_the_image() -> None:
    spec = parse_preset("lunet_small_2f").spec
    forward = count_complexity(spec, (1, 1, 32, 32, 32))
    step = count_complexity(spec, (1, 1, 32, 32, 32), training=True)
    first_convolution = 2 * 27 * 2 * 32**3
    assert step.flops == 3 * forward.flops - first_convolution
    assert step.ptflops_macs == forward.ptflops_macs
    assert (forward.saved_values, step.is_confirmed) == (0, True)


def test_saved_values_are_those_that_autograd_keeps() -> None:
    """Hold the count on tensors without values against storages on a real device."""
    spec = NetworkSpec("lunet", (2, 2), convs_per_block=1)
    network = build_network(spec).train()
    kept: dict[int, int] = {}
    parameters = {parameter.data_ptr() for parameter in network.parameters()}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.data_ptr() not in parameters:
            kept[tensor.untyped_storage().data_ptr()] = tensor.numel()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = network(torch.randn(1, 1, 16, 16, 16))
    assert output.requires_grad
    counted = count_complexity(spec, (1, 1, 16, 16, 16), training=True).saved_values
    assert counted == pytest.approx(sum(kept.values()), rel=0.05)


def test_size_on_disk_is_that_of_saved_weights() -> None:
    spec = replace(parse_preset("lunet_small_4f").spec, out_channels=3)
    buffer = io.BytesIO()
    torch.save(build_network(spec).state_dict(), buffer)
    assert saved_bytes(spec) == len(buffer.getvalue())


def test_counting_takes_no_memory() -> None:
    """A batch of 4096 volumes of 512 voxels an edge would take petabytes."""
    shape = (4096, 1, 512, 512, 512)
    complexity = count_complexity(parse_preset("lunet_small_1f").spec, shape)
    assert complexity.flops == 82_000_640 * math.prod(shape) // 64**3
