"""Drawings of networks as pictures."""

from __future__ import annotations

from itertools import pairwise

import pytest

from lunet_cli.config.presets import parse_preset
from lunet_cli.render.figures.network import networks_figure
from lunet_cli.render.networks import draw_levels


@pytest.mark.parametrize(
    "names", [("lunetpp_small_4f",), ("unet_small_4f", "lunetpp_small_4f"), ("mednext_l",)]
)
def test_blocks_stand_side_by_side(names: tuple[str, ...]) -> None:
    figure = networks_figure([draw_levels(name, parse_preset(name).spec) for name in names])
    for axes in figure.axes[::3]:
        for level in {patch.get_y() for patch in axes.patches}:
            blocks = sorted(
                (p.get_x(), p.get_x() + p.get_width()) for p in axes.patches if p.get_y() == level
            )
            assert blocks[0][0] + 1e-9 >= 0
            assert blocks[-1][1] <= 1 + 1e-9
            assert all(before[1] + 0.05 < after[0] for before, after in pairwise(blocks))
