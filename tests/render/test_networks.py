"""The parts of drawings of networks."""

from __future__ import annotations

import pytest

from lunet_cli.config.presets import parse_preset
from lunet_cli.render.networks import Drawing, Level, Scale, compared, draw_levels


def level(channels: int, num_nodes: int, parameters: int = 1, flops: int = 1) -> Level:
    return Level(
        edge=64, channels=channels, num_nodes=num_nodes, parameters=parameters, flops=flops
    )


def test_the_scale_is_that_at_which_the_fullest_level_finds_room() -> None:
    drawing = Drawing("n", (level(4, 2, 7, 3), level(8, 1, 5, 9)))
    # The first level has the whole width: (1 - 0.2) / 2 for each block, 0.1 for each channel. The
    # bottleneck has 0.4 of it: 0.05 for each of its channels.
    scale = Scale.of([drawing], gap=0.2)
    assert scale.width_per_channel == pytest.approx(0.05)
    assert (scale.parameters, scale.flops) == (7, 9)


def test_blocks_of_each_topology() -> None:
    unet = draw_levels("u", parse_preset("unet_small_4f").spec)
    nested = draw_levels("n", parse_preset("unetpp_small_4f").spec)
    assert [one.num_nodes for one in unet.levels] == [2, 2, 2, 2, 1]
    assert [one.num_nodes for one in nested.levels] == [5, 4, 3, 2, 1]
    assert [one.edge for one in unet.levels] == [64, 32, 16, 8, 4]


def test_costs_are_compared_in_words() -> None:
    large, lean = Drawing("large", (level(8, 1, 30, 2),)), Drawing("lean", (level(1, 1, 12, 5),))
    assert compared(large, lean) == (
        "lean has 1/2.5 of the parameters and 2.5 times the FLOPs of large."
    )
