"""Which lines a picture of trainings has."""

from __future__ import annotations

import numpy as np

from lunet_cli.render.curves import CurveOptions, curve_panels, thin_out
from lunet_cli.results.training import EpochRecord, TrainingHistory


def history(name: str, dice: list[float], labels: tuple[str, ...] = ("a", "b")) -> TrainingHistory:
    records = [
        EpochRecord(
            index + 1,
            1 / (index + 1),
            2 / (index + 1),
            value,
            dict.fromkeys(labels, value),
            0.01,
            1.5,
        )
        for index, value in enumerate(dice)
    ]
    return TrainingHistory(name, tuple(records), is_finished=True)


def test_one_run_has_its_labels_as_lines() -> None:
    loss, dice, rate = curve_panels([history("run", [0.1, 0.9, 0.5])], CurveOptions())
    assert [line.name for line in loss.lines] == ["training", "validation"]
    assert [line.name for line in dice.lines] == ["a", "b", "mean of labels"]
    assert dice.lines[-1].best == 1
    assert [line.best for line in dice.lines[:2]] == [None, None]
    assert rate.lines[0].y.tolist() == [0.01] * 3
    (only,) = curve_panels([history("run", [0.1, 0.9], ("a",))], CurveOptions(quantities=("dice",)))
    assert [line.name for line in only.lines] == ["a"]


def test_several_runs_are_lines_and_each_label_has_a_panel() -> None:
    runs = [history("one", [0.1, 0.2]), history("two", [0.3, 0.2, 0.1], ("a",))]
    panels = curve_panels(runs, CurveOptions(quantities=("loss", "dice")))
    assert [panel.title for panel in panels] == [
        "Loss",
        "Validation Dice, mean of labels",
        "Validation Dice, a",
        "Validation Dice, b",
    ]
    assert [[line.name for line in panel.lines] for panel in panels[1:]] == [
        ["one", "two"],
        ["one", "two"],
        ["one"],
    ]
    assert [line.best for line in panels[1].lines] == [1, 0]
    assert {line.color for line in panels[0].lines if line.name.startswith("two")} == {1}


def test_seconds_add_up() -> None:
    (panel,) = curve_panels(
        [history("run", [0.1, 0.2])], CurveOptions(x_axis="seconds", quantities=("lr",))
    )
    assert panel.lines[0].x.tolist() == [1.5, 3.0]
    assert panel.x_label == "training time in s"


def test_smoothing_is_an_average_that_starts_at_the_first_value() -> None:
    (panel,) = curve_panels(
        [history("run", [1.0, 0.0, 0.0], ("a",))], CurveOptions(smoothing=0.5, quantities=("dice",))
    )
    np.testing.assert_allclose(panel.lines[0].y, [1, 1 / 3, 1 / 7])
    assert panel.lines[0].raw.tolist() == [1, 0, 0]


def test_smoothing_passes_over_what_is_not_finite() -> None:
    (panel,) = curve_panels(
        [history("run", [np.nan, 1.0, np.nan, 1.0], ("a",))],
        CurveOptions(smoothing=0.9, quantities=("dice",)),
    )
    # An epoch that measured nothing is no point of the line.
    assert panel.lines[0].x.tolist() == [2, 4]
    np.testing.assert_allclose(panel.lines[0].y, [1, 1])


def test_ten_thousand_epochs_become_what_a_screen_can_show_with_every_peak() -> None:
    x = np.arange(10_000, dtype=float)
    y = np.sin(x / 50)
    y[5_003] = 9.0
    thin_x, thin_y = thin_out(x, y, 100)
    assert len(thin_x) == len(thin_y) <= 200
    assert thin_y.max() == 9.0
    assert thin_x[thin_y.argmax()] == 5_003
    assert (np.diff(thin_x) > 0).all()
    assert thin_out(x[:150], y[:150], 100)[0].tolist() == x[:150].tolist()
