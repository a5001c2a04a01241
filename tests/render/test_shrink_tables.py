"""A network and the smaller one beside each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lunet_cli.render.console import PlainConsole
from lunet_cli.render.shrink_tables import shrink_table
from lunet_cli.results.evaluation import NonInferiority
from lunet_cli.results.pruning import PruneResult, PruningStep
from lunet_cli.results.shrinking import NetworkCost, PassTime, ShrinkComparison, ShrinkResult

BEFORE = NetworkCost(
    path=Path("runs/a/best_model.pt"),
    parameters=353_949,
    flops=1_909_194_752,
    num_channels=428,
    size_bytes=1_462_191,
    dice=0.8831,
    pass_time=PassTime(36.8, "openvino bf16 on cpu"),
)
AFTER = replace(
    BEFORE,
    parameters=35_395,
    flops=954_597_376,
    num_channels=107,
    size_bytes=182_774,
    dice=0.8815,
    pass_time=PassTime(18.4, "onnx fp32 on cpu"),
)
DIFFERENCE = NonInferiority(-0.0016, (-0.0041, 0.0009), 0.005, 40)


def lines_of(result: ShrinkResult) -> list[str]:
    console = PlainConsole(width=80, _environ={})
    with console.capture() as captured:
        console.print(shrink_table(result))
    return captured.get().splitlines()


@pytest.fixture
def shrunk(pruning_steps: Callable[..., tuple[PruningStep, ...]]) -> ShrinkResult:
    steps = pruning_steps(0.0, -0.001)
    pruning = PruneResult(
        run_dir=Path("runs/a_small"),
        outcome="stopped early",
        reason="3 steps in a row lost more than a Dice of 0.005",
        architecture="unet_small_4f",
        num_parameters=353_949,
        steps=steps,
        chosen=steps[2],
        seconds=75,
    )
    comparison = ShrinkComparison(BEFORE, AFTER, DIFFERENCE, None, (2, 1, 48, 64, 48))
    return ShrinkResult(pruning, comparison)


def test_every_figure_stands_before_and_after(shrunk: ShrinkResult) -> None:
    lines = lines_of(shrunk)
    rows = {line[:20].strip(): line[20:].split() for line in lines}
    assert rows["parameters"] == ["353,949", "35,395", "10.0", "x", "less"]
    assert rows["channels"] == ["428", "107", "4.0", "x", "less"]
    assert rows["GFLOP at 64^3"] == ["1.909", "0.955", "2.0", "x", "less"]
    assert rows["file, KiB"] == ["1,428", "178", "8.0", "x", "less"]
    assert rows["batch of windows, ms"] == ["36.8", "18.4", "2.0", "x", "as", "fast"]
    assert rows["validation Dice"] == ["0.8831", "0.8815", "-0.0016"]
    told = " ".join(lines)
    assert "on 2 windows of 48 x 64 x 48." in told
    assert "-0.0041 to +0.0009 (95 % CI, paired, bootstrap over 40 validation cases)" in told
    assert max(map(len, lines)) <= 80
    assert not any("…" in line for line in lines)


def test_what_was_not_timed_has_no_row(shrunk: ShrinkResult) -> None:
    found = shrunk.comparison
    untimed = replace(
        found, before=replace(BEFORE, pass_time=None), after=replace(AFTER, pass_time=None)
    )
    told = "\n".join(lines_of(replace(shrunk, comparison=untimed)))
    assert "windows" not in told
    assert "computed by" not in told


def test_where_nothing_went_the_nearest_network_is_told(shrunk: ShrinkResult) -> None:
    nearest = NonInferiority(0.0007, (-0.0051, 0.0055), 0.005, 21)
    same = replace(shrunk.comparison, after=BEFORE, nearest=nearest)
    lines = lines_of(replace(shrunk, comparison=same))
    start = lines.index("Nothing could be removed: each smaller network may lose more than a")
    assert lines[start + 1 : start + 3] == [
        "Dice of 0.005 over 40 validation cases.",
        "The nearest changed it by +0.0007 (95 % CI -0.0051 to +0.0055).",
    ]
    assert "parameters" not in "\n".join(lines)
