"""Curves of trainings in terminals of several sizes, without colours, and in a pipe."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from lunet_cli.engine.viewing.histories import read_history
from lunet_cli.render.curves import CurveOptions, curve_panels
from lunet_cli.render.terminal.charts import (
    best_lines,
    draw_followed,
    draw_panel,
    draw_panels,
    log_ticks,
    round_ticks,
    tick_labels,
)
from lunet_cli.render.terminal.screen import Screen
from lunet_cli.results.training import EpochRecord, TrainingHistory

Show = Callable[..., tuple[list[str], Screen]]


def test_curves(show: Show, trained_run: Path) -> None:
    history = read_history(trained_run)
    lines, _ = show(lambda screen: draw_panels(curve_panels([history], CurveOptions()), screen))
    text = "\n".join(lines)
    for word in (
        "Loss",
        "training",
        "validation",
        "Validation Dice",
        "anterior",
        "Learning rate",
        "best epoch",
        "epoch",
    ):
        assert word in text
    assert "◆" in text
    drawn, _ = show(lambda screen: best_lines([history]))
    assert f"validation Dice {history.best.val_dice:.4f}" in " ".join(drawn)


def test_curves_of_several_runs_on_logarithmic_axes(show: Show, trained_run: Path) -> None:
    histories = [read_history(trained_run)] * 2
    options = CurveOptions("seconds", smoothing=0.5, log=True)
    lines, _ = show(lambda screen: draw_panels(curve_panels(histories, options), screen))
    assert "training time in s" in "\n".join(lines)


def test_a_followed_training_fits_the_screen(show: Show, trained_run: Path) -> None:
    history = read_history(trained_run)
    panels = curve_panels([history], CurveOptions())
    lines, screen = show(
        lambda screen: draw_followed(panels, [history], ["waiting: other"], screen)
    )
    assert len(lines) <= screen.height - 1
    text = "\n".join(lines)
    assert "Validation Dice" in text, "what matters most is there on every screen"
    assert "waiting: other" in text
    assert "Learning rate" in text, "drawn where there is room, and named where there is none"
    assert ("no room for: " in text) == (screen.height < 40 and screen.width < 110)
    assert lines[-1] == "q or Ctrl-C ends"


def test_dice_is_followed_where_only_one_panel_finds_room(trained_run: Path) -> None:
    history = read_history(trained_run)
    console = Console(file=io.StringIO(), width=60, _environ={})
    with console.capture() as captured:
        panels = curve_panels([history], CurveOptions())
        console.print(draw_followed(panels, [history], [], Screen(60, 16, colors=False)))
    assert captured.get().startswith("Validation Dice")
    assert "no room for: Loss, Learning rate" in captured.get()


@pytest.mark.parametrize(
    ("low", "high", "number", "least_step", "expected"),
    [
        (1, 48, 7, 1, [10, 20, 30, 40]),
        (1, 3, 9, 1, [1, 2, 3]),
        (0.07, 4.2, 5, 0, [1, 2, 3, 4]),
        (0.83, 0.91, 4, 0, [0.84, 0.86, 0.88, 0.9]),
        (-0.3, 0.3, 6, 0, [-0.3, -0.2, -0.1, 0, 0.1, 0.2, 0.3]),
    ],
)
def test_ticks_are_round(
    low: float, high: float, number: int, least_step: float, expected: list[float]
) -> None:
    assert round_ticks(low, high, number, least_step=least_step) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("low", "high", "number", "expected"),
    [
        (0.09, 4.2, 8, [0.1, 0.2, 0.5, 1, 2]),
        (686, 5_340_889, 8, [1e3, 3e3, 1e4, 3e4, 1e5, 3e5, 1e6, 3e6]),
        (9_929, 353_949, 3, [1e4, 1e5]),
        (21, 29, 9, [21, 29]),
        (15, 35, 9, [20, 30]),
    ],
)
def test_logarithmic_ticks_are_round(
    low: float, high: float, number: int, expected: list[float]
) -> None:
    assert log_ticks(low, high, number) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("ticks", "log", "labels"),
    [
        ([10, 20], False, ["10", "20"]),
        ([0, 0.05, 0.1], False, ["0.00", "0.05", "0.10"]),
        ([0.86735, 0.8674, 0.86745], False, ["0.86735", "0.86740", "0.86745"]),
        ([50_000, 100_000], False, ["50k", "100k"]),
        ([9_929, 350_000, 1.9e6, 2e9], True, ["9929", "350k", "1.9M", "2G"]),
        ([1e-6, 1e-5, 0.001], True, ["1e-06", "1e-05", "0.001"]),
    ],
)
def test_tick_labels_are_short_and_differ(ticks: list[float], log: bool, labels: list[str]) -> None:
    assert tick_labels(ticks, log=log) == labels


def test_a_broken_epoch_leaves_the_rest_of_a_curve_in_place() -> None:
    records = [
        EpochRecord(i, 1 / i, math.nan if i == 3 else 2 / i, 0.1 * i, {"a": 0.1 * i}, 0.1, 1)
        for i in range(1, 9)
    ]
    history = TrainingHistory("r", tuple(records), is_finished=True)
    (panel,) = curve_panels([history], CurveOptions(quantities=("loss",)))
    console = Console(file=io.StringIO(), width=60, _environ={})
    with console.capture() as captured:
        console.print(draw_panel(panel, 60, 16, colors=False))
    lines = captured.get().splitlines()
    assert lines[-2].split() == list("12345678")
    (top,) = [line for line in lines if "x" in line and line.startswith("2.0┤")]
    assert top.index("x") == top.index("┤") + 1, (
        "the highest loss, of the first epoch, is in the upper left corner"
    )


def test_a_training_without_any_dice_marks_no_epoch() -> None:
    records = [EpochRecord(i, 1 / i, 2 / i, math.nan, {"a": math.nan}, 0.1, 1) for i in (1, 2, 3)]
    history = TrainingHistory("r", tuple(records), is_finished=True)
    assert best_lines([history]).plain == "r: no validation Dice in 3 epochs"
    assert all(
        line.best is None
        for panel in curve_panels([history], CurveOptions())
        for line in panel.lines
    )
    console = Console(file=io.StringIO(), width=60, _environ={})
    with console.capture() as captured:
        console.print(
            draw_panels(curve_panels([history], CurveOptions()), Screen(60, 24, colors=False))
        )
    assert "◆" not in captured.get()


def test_nothing_is_left_out_where_nothing_has_begun() -> None:
    console = Console(file=io.StringIO(), width=60, _environ={})
    with console.capture() as captured:
        console.print(draw_followed([], [], ["waiting: a"], Screen(60, 16, colors=False)))
    assert captured.get().splitlines() == ["waiting: a", "q or Ctrl-C ends"]
