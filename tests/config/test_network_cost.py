from __future__ import annotations

import json
from dataclasses import replace

import pytest
from pydantic import TypeAdapter

from lunet_cli.config.network import NetworkSpec
from lunet_cli.config.network_cost import (
    count_conv_flops,
    count_parameters,
    level_costs,
    require_buildable,
)
from lunet_cli.config.presets import parse_preset


def spec_of(name: str) -> NetworkSpec:
    return parse_preset(name).spec


def test_parameters_are_the_published_ones(preset_facts) -> None:
    assert count_parameters(spec_of(preset_facts.name)) == preset_facts.parameters


def test_conv_flops_are_the_published_ones(preset_facts) -> None:
    assert count_conv_flops(spec_of(preset_facts.name)) == preset_facts.conv_flops


def test_levels_add_up_to_the_published_totals(preset_facts) -> None:
    levels = level_costs(spec_of(preset_facts.name))
    assert sum(level.parameters for level in levels) == preset_facts.parameters
    assert sum(level.flops for level in levels) == preset_facts.conv_flops


def test_lunet_small_8f_has_the_parameters_of_the_paper() -> None:
    assert count_parameters(spec_of("lunet_small_8f")) == 39_025


@pytest.mark.parametrize("base", [1, 2, 3, 4, 8, 16, 100])
def test_parameters_of_a_lean_unet_are_quadratic_in_its_channels(base: int) -> None:
    # the one parabola through the published 686, 2,569 and 9,929
    assert count_parameters(spec_of(f"lunet_small_{base}f")) == 599 * base**2 + 86 * base + 1


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("mednext_s", 5.6),
        ("mednext_b", 10.5),
        ("mednext_m", 17.6),
        ("mednext_l", 61.8),
        ("mednext_b_k5", 11.0),
        ("mednext_m_k5", 18.3),
        ("mednext_l_k5", 63.0),
    ],
)
def test_official_mednext_sizes_have_their_published_parameters(name: str, millions: float) -> None:
    # Published are networks with deep supervision: a head at each of five levels, say for the 14
    # classes of BTCV.
    heads = 14 * sum(channels + 1 for channels in (32, 64, 128, 256, 512)) - (32 + 1)
    assert round((count_parameters(spec_of(name)) + heads) / 1e6, 1) == millions


@pytest.mark.parametrize(("name", "base"), [("mednext_small", 4), ("mednext_s", 32)])
def test_larger_mednext_kernel_adds_only_depthwise_weights(name: str, base: int) -> None:
    # depthwise channels in units of the base: encoder 2 x 15, bottleneck 2 x 16, decoder 2 x 15,
    # down 15, up 30
    added = 137 * base * (5**3 - 3**3)
    assert count_parameters(spec_of(f"{name}_k5")) == count_parameters(spec_of(name)) + added


def test_level_costs_of_the_smallest_lean_unet_by_hand() -> None:
    levels = level_costs(spec_of("lunet_small_1f"))
    # Parameters of one convolution with its normalisation: 30 from one channel, 57 from two; 9 of
    # an upsampling. Level 0: two in the encoder, one in the decoder, segmenter, output. Level 4:
    # two and the upsampling from it.
    middle = 30 + 30 + 57 + 30 + 9
    assert [level.parameters for level in levels] == [
        60 + 57 + 30 + 2,
        middle,
        middle,
        middle,
        60 + 9,
    ]
    macs_per_voxel = [27 + 27 + 54 + 27 + 1, *[27 + 27 + 54 + 27 + 8] * 3, 27 + 27 + 8]
    voxels = [64**3, 32**3, 16**3, 8**3, 4**3]
    assert [level.flops for level in levels] == [
        2 * m * v for m, v in zip(macs_per_voxel, voxels, strict=True)
    ]


def test_nested_network_of_three_levels_by_hand() -> None:
    spec = NetworkSpec("lunetpp", (1, 1, 1), convs_per_block=1)
    # three encoders, three upsamplings, nodes (0,1) and (1,1), last node of three inputs,
    # segmenter, output
    assert count_parameters(spec) == 3 * 30 + 3 * 9 + 2 * 57 + 84 + 30 + 2
    level_macs = [27 + 54 + 81 + 27 + 1, 27 + 54 + 2 * 8, 27 + 8]
    expected = 2 * sum(macs * 64**3 // 8**level for level, macs in enumerate(level_macs))
    assert count_conv_flops(spec) == expected == 106_258_432


def test_nested_network_of_two_levels_costs_as_much_as_a_unet() -> None:
    nested, plain = NetworkSpec("unetpp", (3, 6)), NetworkSpec("unet", (3, 6))
    assert level_costs(nested) == level_costs(plain)


def test_more_image_and_output_channels_change_only_the_ends() -> None:
    spec = replace(spec_of("lunet_small_4f"), in_channels=2, out_channels=3)
    first_convolution, output_channels = 27 * 4, 2 * (4 + 1)
    assert count_parameters(spec) == 9_929 + first_convolution + output_channels


def test_dropout_costs_nothing() -> None:
    spec = replace(spec_of("lunet_small_4f"), dropout=0.5)
    assert (count_parameters(spec), count_conv_flops(spec)) == (9_929, 1_135_849_472)


def test_half_of_the_voxels_take_half_of_the_flops(preset_facts) -> None:
    assert 2 * count_conv_flops(spec_of(preset_facts.name), (64, 32, 64)) == preset_facts.conv_flops


@pytest.mark.parametrize(
    "name", ["lunet_small_4f", "unetpp_large_6f", "mednext_small", "mednext_l_k5"]
)
def test_spec_survives_plain_values(name: str) -> None:
    spec = replace(spec_of(name), in_channels=2, out_channels=5, dropout=0.25)
    stored = json.loads(json.dumps(spec.to_dict()))
    assert stored["channels"] == list(spec.channels)
    assert TypeAdapter(NetworkSpec).validate_json(json.dumps(stored), strict=True) == spec
    require_buildable(spec)


@pytest.mark.parametrize(
    ("name", "topology", "num_levels", "stride"),
    [
        ("unet_small_4f", "unet", 5, 16),
        ("lunet_large_6f", "unet", 4, 8),
        ("unetpp_small_1f", "unetpp", 5, 16),
        ("lunetpp_large_24f", "unetpp", 4, 8),
        ("mednext_small", "mednext", 5, 16),
    ],
)
def test_graph_depth_and_stride(name: str, topology: str, num_levels: int, stride: int) -> None:
    spec = spec_of(name)
    assert (spec.topology, spec.num_levels, spec.total_stride) == (topology, num_levels, stride)


def test_every_preset_can_be_built(preset_facts) -> None:
    require_buildable(spec_of(preset_facts.name))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": (4,)}, "channels of 1 levels, not of 2 to 10"),
        ({"channels": (4,) * 11}, "channels of 11 levels, not of 2 to 10"),
        ({"channels": (4, 0)}, "channels hold a value outside of 1 to 65536"),
        ({"channels": (65536, 65536)}, "parameters are more than"),
        ({"out_channels": 10**9}, "out_channels hold a value outside"),
        ({"dropout": 1.0}, "dropout 1 is not a probability below 1"),
        ({"kernel_size": 4}, "kernel_size 4 is not odd"),
        ({"blocks_per_stage": (1,)}, "1 blocks_per_stage where lunet with these levels has 0"),
    ],
    ids=str,
)
def test_what_cannot_be_built_is_said_without_building_it(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        require_buildable(replace(spec_of("lunet_small_4f"), **changes))
