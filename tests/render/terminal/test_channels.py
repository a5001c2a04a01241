"""Channels of a pruning in terminals."""

from __future__ import annotations

from collections.abc import Callable

from lunet_cli.render.terminal.channels import draw_channels
from lunet_cli.render.terminal.screen import Screen
from lunet_cli.results.views import ChannelHistory

Show = Callable[..., tuple[list[str], Screen]]


def test_channels(show: Show) -> None:
    history = ChannelHistory(
        "pruned", (0, 1, 2), {"encoders.0.0": (4, 4, 3), "encoders.4.1": (64, 32, 8)}
    )
    lines, _ = show(lambda screen: draw_channels(history, screen))
    assert lines[0] == "pruned: 68 channels in 2 layers, 11 at the end"
    (row,) = [line for line in lines if line.startswith("encoders.4.1")]
    assert row.split() == ["encoders.4.1", "64", "█▄▁", "8"]
