"""Progress in words: what is told, how often, and that it fits a narrow terminal."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from lunet_cli.render import progress
from lunet_cli.render.console import PlainConsole
from lunet_cli.render.progress import report_progress
from lunet_cli.results.events import CaseRead, Event
from lunet_cli.results.prediction import CasePredicted
from lunet_cli.results.pruning import (
    ChannelsRemoved,
    PruningStep,
    PruningStepDone,
    RemovedChannel,
)
from lunet_cli.results.training import EpochDone, EpochRecord, StepDone, TrainingStarted

STARTED = TrainingStarted(
    run_dir=Path("runs/a"),
    architecture="lunet_small_4f",
    num_parameters=9944,
    num_train=32,
    num_val=1,
    labels=("anterior", "posterior", "ventricle"),
    first_epoch=1,
    num_epochs=20,
    num_steps=1,
    patch_size=(48, 48, 48),
    conditions=("augmentation", "dropout"),
    is_averaged=True,
)


def epoch(number: int, dice: float, *, is_best: bool) -> EpochDone:
    per_label = {"anterior": dice, "posterior": 0.25, "ventricle": 0.125}
    return EpochDone(
        EpochRecord(number, 1.5, 1.25, dice, per_label, 0.01, 2.0), 20, is_best, 3725.0
    )


TRAINING: list[Event] = [
    CaseRead(40, 40),
    STARTED,
    StepDone(1, 1, 1, 1.5, 0.01),
    epoch(1, 0.5, is_best=True),
    StepDone(2, 1, 1, 1.5, 0.01),
    epoch(2, 0.25, is_best=False),
]


def pruning_events(steps: Sequence[PruningStep]) -> list[Event]:
    """What a pruning reports: each step after the first is recovered from in an epoch."""
    first, *others = steps
    last = len(others)
    events: list[Event] = [STARTED, PruningStepDone(first, last, True, 60.0)]
    for step in others:
        events += [
            ChannelsRemoved(step.step, last, step.removed, step.widths, step.parameters, 0.5),
            StepDone(step.step, 1, 1, 1.5, 0.01),
            epoch(step.step, 0.5, is_best=False),
            PruningStepDone(step, last, step.step == 1, 30.0),
        ]
    return events


def plain_lines(events: list[Event], capsys: pytest.CaptureFixture[str]) -> list[str]:
    with report_progress(PlainConsole(file=io.StringIO())) as on_event:
        for event in events:
            on_event(event)
    return capsys.readouterr().err.splitlines()


def test_plain_logs_have_a_line_per_epoch_that_says_which_loss_is_which(
    capsys: pytest.CaptureFixture[str],
) -> None:
    started, train, val, *table = plain_lines(TRAINING, capsys)
    assert "32 training and 1 validation case, labels" in started
    assert "epochs 1 to 20 of 1 step, in runs/a" in started
    assert train == "train loss: mean over the steps of the epoch, with augmentation and dropout"
    assert val.startswith(
        "val loss and Dice: over the validation cases, with the averaged weights (EMA);"
    )
    assert [line.split() for line in table] == [
        ["loss", "val", "Dice"],
        ["epoch", "train", "val", "mean", "left", "anterior", "posterior", "ventricle"],
        [
            "1/20",
            "1.5000",
            "1.2500",
            "0.5000*",
            "1",
            "h",
            "02",
            "min",
            "0.5000",
            "0.2500",
            "0.1250",
        ],
        ["2/20", "1.5000", "1.2500", "0.2500", "1", "h", "02", "min", "0.2500", "0.2500", "0.1250"],
    ]
    assert max(map(len, table)) <= 80


def test_long_epochs_give_signs_of_life(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[Event] = [StepDone(1, step, 9, 1.5, 0.01) for step in range(1, 10)]
    assert plain_lines(steps, capsys) == []
    now = iter(range(0, 1000, 20))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(now))
    told = plain_lines(steps, capsys)
    assert 1 < len(told) < len(steps)
    assert told[0].startswith("epoch 1 step ")


def test_cases_are_told_by_the_table_unless_they_are_empty(
    capsys: pytest.CaptureFixture[str],
) -> None:
    full, empty = (
        CasePredicted("a", Path("out/a.nii"), {"x": ml}, 1.0, 1, 2, 3.0) for ml in (0.5, 0.0)
    )
    assert plain_lines([full], capsys) == []
    assert plain_lines([empty], capsys) == [
        "1/2 out/a.nii: empty: no voxel of any label, 1.0 s, 3 s left"
    ]


def test_bars_fit_a_narrow_terminal() -> None:
    file = io.StringIO()
    console = PlainConsole(
        file=file, width=80, height=24, force_terminal=True, color_system=None, _environ={}
    )
    with report_progress(console) as on_event:
        for event in TRAINING:
            on_event(event)
    text = file.getvalue()
    assert "1/20  1.5000  1.2500  0.5000*" in text
    assert "[bold]" not in text
    assert "…" not in text


def test_a_pruning_has_a_row_per_step_and_none_for_its_epochs(
    pruning_steps, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = plain_lines(pruning_events(pruning_steps(0.01, -0.01)), capsys)
    meaning, *table = lines[3:]
    assert "*: the chosen step so far" in meaning
    assert [line.split() for line in table] == [
        ["step", "removed", "channels", "parameters", "before", "after", "left"],
        ["0/2", "12", "1,000", "0.7100*", "1", "min", "00", "s"],
        ["1/2", "1", "of", "encoders.1.0", "11", "900", "0.5000", "0.7200*", "30", "s"],
        ["2/2", "1", "of", "encoders.1.0", "10", "800", "0.5000", "0.7000", "30", "s"],
    ]
    assert max(map(len, [meaning, *table])) <= 80


def test_a_pruning_that_goes_on_has_no_rows_of_epochs_either(
    pruning_steps, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its first event is the removal of the next channel."""
    lines = plain_lines(pruning_events(pruning_steps(0.01, -0.01))[2:], capsys)
    assert [line.split()[0] for line in lines] == ["before,", "step", "1/2", "2/2"]


def test_layers_of_many_channels_are_counted_and_cut(
    pruning_steps, capsys: pytest.CaptureFixture[str]
) -> None:
    _, step = pruning_steps(0.0)
    several = [RemovedChannel(name, 0, 1.0) for name in ("bottleneck.0", "decoders.0.1") * 2]
    event = PruningStepDone(replace(step, removed=tuple(several)), 1, False, 5.0)
    *_, row = plain_lines([event], capsys)
    assert "  2 of bottleneck.0,...  " in row
    assert len(row) <= 80


def test_bars_of_a_pruning_fit_a_narrow_terminal(pruning_steps) -> None:
    file = io.StringIO()
    console = PlainConsole(
        file=file, width=80, height=24, force_terminal=True, color_system=None, _environ={}
    )
    with report_progress(console) as on_event:
        for event in pruning_events(pruning_steps(0.01, -0.01)):
            on_event(event)
    text = file.getvalue()
    assert "pruning" in text
    assert "recovering" in text
    assert "…" not in text
