"""The files of a run folder, and what becomes of them when something goes wrong."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from lunet_cli.config.load import load_config
from lunet_cli.engine.checkpoints.checkpoint import load_checkpoint
from lunet_cli.engine.training.train import train
from lunet_cli.errors import OutputError
from lunet_cli.results.events import Event, WarningIssued
from lunet_cli.results.training import EpochDone, StepDone, TrainResult


def test_the_run_folder_has_every_file(whole: TrainResult) -> None:
    names = {path.name for path in whole.run_dir.iterdir()}
    assert names == {
        "best_model.pt",
        "checkpoint_epoch003.pt",
        "checkpoint_epoch006.pt",
        "config.yaml",
        "history.csv",
        "last.pt",
        "manifest.json",
        "training.json",
        "train.log",
    }


def test_history_has_the_documented_columns(runs: Any, whole: TrainResult) -> None:
    header = (whole.run_dir / "history.csv").read_text().splitlines()[0]
    assert header == (
        "epoch,train_loss,val_loss,val_dice,val_dice_anterior,val_dice_posterior,val_dice_ventricle,"
        "learning_rate,epoch_seconds"
    )
    rows = runs.history_without_times(whole.run_dir)
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4", "5", "6"]
    for row in rows:
        labels = [float(row[f"val_dice_{name}"]) for name in ("anterior", "posterior", "ventricle")]
        assert float(row["val_dice"]) == pytest.approx(sum(labels) / 3)


def test_manifest_tells_what_is_needed_to_repeat_the_run(whole: TrainResult) -> None:
    manifest = json.loads((whole.run_dir / "manifest.json").read_text())
    assert manifest["seed"] == 42
    assert manifest["versions"]["torch"] == torch.__version__
    train_ids, val_ids = manifest["split"]["train"], manifest["split"]["val"]
    assert len(train_ids) == 5
    assert len(val_ids) == 1
    assert not set(train_ids) & set(val_ids)
    assert manifest["preprocessing"]["normalization"]["name"] == "zscore"


def test_config_of_the_run_loads_again(whole: TrainResult) -> None:
    assert load_config(whole.run_dir / "config.yaml").training.epochs == 6


def test_checkpoints_are_plain(whole: TrainResult) -> None:
    values = torch.load(whole.run_dir / "last.pt", weights_only=True)
    assert values["network"]["channels"] == [1, 1, 1, 1, 1]
    assert values["labels"]["regions"] == {"anterior": [1], "posterior": [2], "ventricle": [3]}


def test_a_kill_while_a_checkpoint_is_written_leaves_the_old_one(
    runs: Any, nursery: Any, tmp_path: Path
) -> None:
    config = runs.tiny(tmp_path, "torn", "training.epochs=3")
    script = f"""
import os, sys
from pathlib import Path
from lunet_cli.engine.training import train as module
from lunet_cli.engine.checkpoints import checkpoint
from lunet_cli.config.load import load_config
calls = 0
real_fsync = os.fsync
def die_in_the_middle(descriptor):
    global calls
    calls += os.path.basename(os.readlink(f"/proc/self/fd/{{descriptor}}")).startswith(".last.pt")
    if calls == 3:
        os.ftruncate(descriptor, 1000)
        os.kill(os.getpid(), {int(signal.SIGKILL)})
    real_fsync(descriptor)
os.fsync = die_in_the_middle
module.train(load_config(Path(sys.argv[1])))
"""
    process = nursery.start(runs.write_yaml(config), code=script)
    _, stderr = process.communicate()
    assert process.returncode == -signal.SIGKILL, stderr
    assert load_checkpoint(tmp_path / "torn" / "last.pt").epoch == 1
    result = train(config, resume="auto")
    assert [record.epoch for record in result.history] == [1, 2, 3]
    assert not list((tmp_path / "torn").glob(".*"))


def test_a_second_training_is_told_and_the_first_goes_on(
    runs: Any, whole: TrainResult, tmp_path: Path
) -> None:
    config = runs.tiny(tmp_path, "run", "training.epochs=6")
    told: list[str] = []

    def try_again(event: Event) -> None:
        if isinstance(event, StepDone) and event.step == 2 and len(told) < 4:
            for resume in (None, "auto"):
                with pytest.raises(OutputError) as caught:
                    train(config, resume=resume)
                told.append(caught.value.message)

    train(config, on_event=try_again)
    assert len(told) == 4
    assert all(f"is being trained already, by process {os.getpid()} on" in text for text in told)
    runs.assert_same_result(tmp_path / "run", whole.run_dir)
    assert not list((tmp_path / "run").glob(".*"))


@pytest.mark.parametrize("content", [None, "", "epoch,train_loss\n"])
def test_a_history_that_is_changed_meanwhile_is_said_and_written_anew(
    runs: Any, whole: TrainResult, tmp_path: Path, content: str | None
) -> None:
    history = tmp_path / "run" / "history.csv"
    events: list[Event] = []

    def change(event: Event) -> None:
        events.append(event)
        if isinstance(event, StepDone) and (event.epoch, event.step) == (3, 1):
            history.unlink() if content is None else history.write_text(content)

    train(runs.tiny(tmp_path, "run", "training.epochs=6"), on_event=change)
    warnings = [
        event.text
        for event in events
        if isinstance(event, WarningIssued) and "history.csv" in event.text
    ]
    assert warnings == [
        f"{history}: was removed or changed while the training ran; it is written anew"
    ]
    assert runs.history_without_times(tmp_path / "run") == runs.history_without_times(whole.run_dir)


def test_a_run_folder_that_is_removed_meanwhile_is_one_error_and_stays_away(
    runs: Any, tmp_path: Path
) -> None:
    def remove(event: Event) -> None:
        if isinstance(event, StepDone) and (event.epoch, event.step) == (2, 1):
            shutil.rmtree(tmp_path / "run")

    with pytest.raises(
        OutputError, match="run: was removed or renamed while the training wrote there"
    ):
        train(runs.tiny(tmp_path, "run", "training.epochs=3"), on_event=remove)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_last_state_and_says_so(
    runs: Any, whole: TrainResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_fsync, num_states = os.fsync, 0

    def fsync(descriptor: int) -> None:
        nonlocal num_states
        num_states += Path(os.readlink(f"/proc/self/fd/{descriptor}")).name.startswith(".last.pt")
        if num_states == 4:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real_fsync(descriptor)

    config = runs.tiny(tmp_path, "run", "training.epochs=6")
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fsync)
        with pytest.raises(
            OutputError, match=r"last.pt: cannot be written \(No space left on device\)"
        ):
            train(config)
    assert not list((tmp_path / "run").glob(".*"))
    assert load_checkpoint(tmp_path / "run/last.pt").epoch == 2
    train(config, resume="auto")
    runs.assert_same_result(tmp_path / "run", whole.run_dir)


def test_events_tell_the_time_left(runs: Any, tmp_path: Path) -> None:
    events: list[Event] = []
    train(runs.tiny(tmp_path, "events", "training.epochs=2"), on_event=events.append)
    epochs = [event for event in events if isinstance(event, EpochDone)]
    assert [event.record.epoch for event in epochs] == [1, 2]
    assert epochs[0].seconds_left > 0
    assert epochs[1].seconds_left == 0
