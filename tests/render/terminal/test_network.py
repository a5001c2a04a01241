"""Drawings of networks in terminals."""

from __future__ import annotations

import io
import re
from collections.abc import Callable

import pytest
from rich.console import Console

from lunet_cli.config.presets import parse_preset
from lunet_cli.render.networks import draw_levels
from lunet_cli.render.terminal.network import draw_networks
from lunet_cli.render.terminal.screen import Screen

Show = Callable[..., tuple[list[str], Screen]]


@pytest.mark.parametrize(
    "names", [("unet_small_4f", "lunet_small_4f"), ("unetpp_large_6f", "mednext_small")]
)
def test_networks(show: Show, names: tuple[str, str]) -> None:
    drawings = [draw_levels(name, parse_preset(name).spec) for name in names]
    lines, _ = show(lambda screen: draw_networks(drawings, screen))
    text = "\n".join(lines)
    for drawing in drawings:
        assert drawing.title in " ".join(lines)
        assert all(f"{level.parameters:,}" in text for level in drawing.levels)
    assert "…" not in text


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_every_network_alone_finds_room(preset_facts, width: int) -> None:
    drawing = draw_levels(preset_facts.name, parse_preset(preset_facts.name).spec)
    console = Console(file=io.StringIO(), width=width, _environ={})
    with console.capture() as captured:
        console.print(draw_networks([drawing], Screen(width, 24, colors=False)))
    assert "…" not in captured.get()
    rows = [line for line in captured.get().splitlines() if re.match(r" +\d+\^3 ", line)]
    assert len(rows) == len(drawing.levels)
    for row, level in zip(rows, drawing.levels, strict=True):
        assert f"{level.parameters:,}" in row
        assert row.count("▶") == (level.num_nodes - 1 if width >= 80 else 0)


def test_lean_networks_look_lean() -> None:
    drawings = [
        draw_levels(name, parse_preset(name).spec) for name in ("unet_small_4f", "lunet_small_4f")
    ]
    console = Console(file=io.StringIO(), width=120, _environ={})
    with console.capture() as captured:
        console.print(draw_networks(drawings, Screen(120, 40, colors=False)))
    lines = captured.get().splitlines()
    deepest = [line for line in lines if line.strip().startswith("4^3")]
    # The bottleneck of 64 channels is drawn nine blocks wide, that of 4 as one; its bar of
    # parameters is a sliver.
    assert deepest[0].count("█") > 30
    assert deepest[1].count("█") == 1
    assert "1/35.6 of the parameters" in captured.get()
