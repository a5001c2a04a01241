from __future__ import annotations

import torch
import torch.nn.functional as F

from lunet_cli.config.presets import parse_preset
from lunet_cli.engine.networks import build_network
from lunet_cli.engine.runtimes.tracing import drop_assertions, trace


def test_bare_volumes_are_brought_into_the_window_inside_of_the_graph() -> None:
    """Against padding by hand: sizes below and above the window, odd differences, a batch."""
    torch.manual_seed(0)
    network = build_network(parse_preset("lunet_small_2f").spec).eval()
    window = (20, 33, 16)
    program = trace(network, window)
    drop_assertions(program)
    graph = program.module(check_guards=False)
    for size in ((16, 16, 16), (1, 1, 1), (21, 40, 5)):
        image = torch.randn(2, 1, *size)
        lack = [max(0, edge - have) for edge, have in zip(window, size, strict=True)]
        sides = [side for gap in reversed(lack) for side in (gap // 2, gap - gap // 2)]
        inside = (
            ...,
            *(slice(gap // 2, gap // 2 + have) for gap, have in zip(lack, size, strict=True)),
        )
        with torch.no_grad():
            expected = network(F.pad(image, sides))[inside]
            torch.testing.assert_close(graph(image), expected, rtol=1e-5, atol=1e-6)
