"""Histories read from run folders."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from lunet_cli.config.load import load_config
from lunet_cli.engine.run_folder import RunFolder
from lunet_cli.engine.viewing.histories import (
    read_channels,
    read_histories,
    read_history,
    seconds_since_epoch,
    without_epochs,
)
from lunet_cli.errors import DataError
from lunet_cli.records.training_summary import TrainingSummary
from lunet_cli.results.training import EpochRecord


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    records = [
        EpochRecord(i, 1.5 / i, 2.5, 0.1 * i, {"a_b": 0.2 * i, "c": 0.0}, 0.01, 3.25)
        for i in (1, 2, 3)
    ]
    folder = RunFolder(tmp_path)
    folder.write_history(records)
    history = read_history(tmp_path)
    assert list(history.records) == records
    assert history.best == records[2]
    assert history.name == tmp_path.name


def test_a_training_has_ended_once_its_summary_counts_its_epochs(
    tmp_path: Path,
) -> None:
    folder = RunFolder(tmp_path)
    folder.write_history([EpochRecord(i, 1, 1, 0, {"a": 0}, 0.1, 1) for i in (1, 2)])
    assert not read_history(tmp_path).is_finished
    folder.write_summary(
        TrainingSummary(
            outcome="finished",
            architecture="lunet_small_1f",
            num_parameters=686,
            num_epochs=2,
            best=None,
            metrics=(),
            latency_ms=None,
        )
    )
    assert read_history(tmp_path).is_finished
    os.utime(tmp_path / "training.json", (0, 0))
    assert read_history(tmp_path).is_finished, "copying may change the times"
    folder.write_history([EpochRecord(i, 1, 1, 0, {"a": 0}, 0.1, 1) for i in (1, 2, 3)])
    assert not read_history(tmp_path).is_finished, "it was resumed"
    folder.write_text("training.json", "{")
    assert not read_history(tmp_path).is_finished


def test_runs_that_have_not_begun(tmp_path: Path) -> None:
    RunFolder(tmp_path).write_history([EpochRecord(1, 1, 1, 0, {"a": 0}, 0.1, 1)])
    waiting = without_epochs([tmp_path, tmp_path / "later"])
    assert waiting == {tmp_path / "later": f"{tmp_path / 'later'}: there is no such folder"}
    assert seconds_since_epoch(tmp_path) < 60


def test_runs_of_the_same_name_are_called_by_their_paths(tmp_path: Path) -> None:
    runs = [tmp_path / "a" / "run", tmp_path / "b" / "run"]
    for run in runs:
        run.mkdir(parents=True)
        RunFolder(run).write_history([EpochRecord(1, 1, 1, 0, {"a": 0}, 0.1, 1)])
    assert [history.name for history in read_histories(runs)] == [str(run) for run in runs]
    assert [history.name for history in read_histories(runs[:1])] == ["run"]


def test_an_epoch_without_a_dice_is_not_the_best(tmp_path: Path) -> None:
    values = (math.nan, 0.1, 0.3)
    RunFolder(tmp_path).write_history(
        [EpochRecord(i, 1, 1, v, {"a": v}, 0.1, 1) for i, v in enumerate(values, 1)]
    )
    assert read_history(tmp_path).best.epoch == 3


@pytest.mark.parametrize(
    "part", ["2", "2,0.5,0.", "2,0.5,0.5,0.5,0.5,0.01,", "2,0.5,0.5,0.5,0.5,0.01,1,1"]
)
def test_a_line_that_is_being_written_is_passed_over(tmp_path: Path, part: str) -> None:
    folder = RunFolder(tmp_path)
    folder.write_history([EpochRecord(1, 1, 1, 0, {"a": 0}, 0.1, 1)])
    with (tmp_path / "history.csv").open("a", encoding="utf-8") as file:
        file.write(part)
    assert len(read_history(tmp_path).records) == 1
    with (tmp_path / "history.csv").open("a", encoding="utf-8") as file:
        file.write("\n3,0.5,0.5,0.5,0.5,0.01,1\n")
    with pytest.raises(DataError, match=r"history.csv: line \d: "):
        read_history(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "has no history.csv"),
        ("", "holds no epoch yet"),
        ("epoch,loss\n1,2\n", "is not the history of a training"),
        (
            "epoch,train_loss,val_loss,val_dice,learning_rate,epoch_seconds\nx,1,1,1,1,1\n",
            "is not the history of a training",
        ),
    ],
)
def test_runs_without_a_history(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "history.csv").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_history(tmp_path)
    with pytest.raises(DataError, match="there is no such folder"):
        read_history(tmp_path / "absent")


def test_channels_of_a_pruned_run(tmp_path: Path) -> None:
    (tmp_path / "channels.csv").write_text("step,first,second\n0,4,8\n1,4,7\n", encoding="utf-8")
    history = read_channels(tmp_path)
    assert history.steps == (0, 1)
    assert history.layers == {"first": (4, 4), "second": (8, 7)}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is not a table of channels: it has no step, or no layer"),
        ("step\n0\n", "is not a table of channels: it has no step, or no layer"),
        ("step,a\n", "is not a table of channels: it has no step, or no layer"),
        ("layer,a\n0,1\n", "is not a table of channels: it has no step, or no layer"),
        ("step,a\n0,x\n", "line 2: a is 'x', not a whole number from 1 on"),
        ("step,a\n0,1\n1\n", "line 3: has 1 columns instead of 2"),
        ("step,a\n0,0\n", "line 2: a is '0', not a whole number from 1 on"),
        ("step,a,a\n0,1,2\n", "has the column 'a' twice"),
        ("step,a\n0,3\n5,2\n5,1\n", "line 4: step is '5', not a whole number from 6 on"),
    ],
)
def test_channels_that_are_no_table(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "channels.csv").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=f"channels.csv: {problem}"):
        read_channels(tmp_path)


def test_a_run_that_was_not_pruned(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="was not pruned"):
        read_channels(tmp_path)
    with pytest.raises(DataError, match="there is no such folder"):
        read_channels(tmp_path / "absent")


@pytest.mark.parametrize(("recovery_epochs", "epoch"), [(2, 4), (0, None)])
def test_a_pruning_has_a_chosen_step(
    tmp_path: Path, pruning_steps, recovery_epochs: int, epoch: int | None
) -> None:
    folder = RunFolder(tmp_path)
    epochs = [EpochRecord(i, 1, 1, 0.1 * i, {"a": 0.1 * i}, 0.1, 1) for i in range(1, 7)]
    folder.write_history(epochs)
    folder.write_pruning(pruning_steps(0.01, 0.005, -0.05))
    folder.write_config(load_config(None, [f"pruning.recovery_epochs={recovery_epochs}"]))
    history = read_history(tmp_path)
    assert history.chosen is not None
    assert (history.chosen.step, history.chosen.num_steps) == (2, 3)
    assert (history.chosen.epoch, history.mark) == (epoch, "chosen step")
    assert (history.of_best_model is None) == (epoch is None)
    # The epoch with the highest Dice is the last one, which has led to another network.
    if history.of_best_model is not None:
        assert history.of_best_model.epoch == epoch
