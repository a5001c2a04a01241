"""Prunings as tables."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import RenderableType

from lunet_cli.config.pruning import PruningConfig
from lunet_cli.engine.viewing.prunings import summarize_pruning
from lunet_cli.render.console import PlainConsole
from lunet_cli.render.pruning_tables import layers_table, prune_table, steps_table
from lunet_cli.results.pruning import PrunableLayer, PruneResult, PruningForecast
from lunet_cli.results.views import PruningView


def lines_of(table: RenderableType, width: int = 80) -> list[str]:
    console = PlainConsole(width=width, _environ={})
    with console.capture() as captured:
        console.print(table)
    return captured.get().splitlines()


def rows_of(lines: list[str]) -> dict[str, list[str]]:
    """Cells by the name of their row; of two rows of one name, those of the second."""
    cells = {}
    for line in filter(None, lines):
        name, *values = [part for part in line.strip().split("  ") if part.strip()]
        cells[name] = [value.strip() for value in values]
    return cells


@pytest.mark.parametrize("width", [80, 120])
def test_three_networks_stand_beside_each_other(pruning: PruningView, width: int) -> None:
    lines = lines_of(steps_table(pruning), width)
    assert lines[0].split() == ["unpruned", "chosen", "last"]
    rows = rows_of(lines)
    assert rows["step"] == ["0", "3", "4"]
    assert rows["parameters"] == ["1,000", "700", "600"]
    assert rows["removed"] == ["30.0%", "40.0%"]
    assert rows["GFLOP at 64^3"] == ["2.000", "1.700", "1.600"]
    assert rows["channels"] == ["12", "9", "8"]
    assert rows["widest / narrowest"] == ["2.0", "1.2", "1.0"]
    assert rows["validation Dice"] == ["0.7100", "0.7150", "0.6600"]
    assert rows["minus unpruned"] == ["+0.0050", "-0.0500"]
    assert rows["minus step 2 (best)"] == ["-0.0100", "-0.0050", "-0.0600"]
    assert "12 validation cases" in " ".join(lines)
    assert not any("…" in line for line in lines)


def test_networks_that_are_the_same_share_a_column(pruning_steps) -> None:
    def heading(*gains: float) -> list[str]:
        view = summarize_pruning(
            pruning_steps(*gains), PruningConfig(margin=0.01), name="a", is_finished=False
        )
        return lines_of(steps_table(view))[0].split("  ")

    assert [part.strip() for part in heading(0.1) if part] == ["unpruned", "chosen, last"]
    assert [part.strip() for part in heading(-0.1) if part] == ["unpruned, chosen", "last"]
    assert [part.strip() for part in heading() if part] == ["unpruned, chosen, last"]


def test_the_end_tells_why_and_where(pruning: PruningView) -> None:
    result = PruneResult(
        run_dir=Path("runs/a"),
        outcome="stopped early",
        reason="4 steps in a row lose more Dice than the margin",
        architecture="unet_small_4f",
        num_parameters=1000,
        steps=pruning.steps,
        chosen=pruning.chosen.step,
        seconds=125.0,
    )
    words = " ".join(" ".join(lines_of(prune_table(result, pruning))).split())
    assert words.startswith(
        "unet_small_4f, 1,000 parameters: stopped early (4 steps in a row lose more Dice than the"
    )
    assert words.endswith("2 min 05 s, run folder runs/a")
    quiet = prune_table(replace(result, reason=""), pruning)
    assert lines_of(quiet)[1] == "unet_small_4f, 1,000 parameters: stopped early"


def test_layers_are_listed_with_what_can_be_removed() -> None:
    layers = (
        PrunableLayer("encoders.0.0", 0, 4, False),
        PrunableLayer("encoders.1.0", 1, 8, False),
        PrunableLayer("upsamples.0", 0, 4, True),
    )
    forecast = PruningForecast("unet_small_4f", layers, 1000, 400, num_wanted=5)
    title, heading, *rows, _, channels, parameters = lines_of(layers_table(forecast))
    assert title == "unet_small_4f: dry run, nothing was written"
    assert [row.split() for row in (heading, *rows)] == [
        ["layer", "level", "channels", "removable"],
        ["encoders.0.0", "0", "4", "3"],
        ["encoders.1.0", "1", "8", "7"],
        ["upsamples.0", "0", "4", "protected"],
    ]
    assert channels == "16 channels in 3 layers; 10 of them can be removed, and 5 would be."
    assert parameters == "1,000 parameters; without all that can be removed 400."
