"""The training job as a whole: run folder, resuming, interruption."""

from __future__ import annotations

import csv
import errno
import json
import math
import os
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lunet_cli.config.load import dump_yaml, load_config
from lunet_cli.config.run import RunConfig
from lunet_cli.engine.checkpoints.checkpoint import load_checkpoint
from lunet_cli.engine.training.dry_run import dry_run
from lunet_cli.engine.training.loop import Validation
from lunet_cli.engine.training.state import TrainState
from lunet_cli.engine.training.train import train
from lunet_cli.errors import CheckpointError, ConfigError, LunetError, OutputError, TrainingError
from lunet_cli.results.events import Event, WarningIssued
from lunet_cli.results.training import EpochDone, PlanChosen, StepDone, TrainResult
from lunet_cli.results.views import Slice

TINY = (
    "model.architecture=lunet_small_1f",
    "model.drop_prob=0.1",
    "data.phantom.num_cases=6",
    "data.phantom.size=32",
    "training.batch_size=2",
    "training.precision=fp32",
    "training.num_threads=1",
    "training.log_interval=1",
    "augmentation.enabled=true",
    "augmentation.flip_probability=0.5",
)


def tiny(output_dir: Path, name: str = "run", *more: str) -> RunConfig:
    settings = [*TINY, f"experiment.output_dir={output_dir}", f"experiment.name={name}", *more]
    return load_config(None, settings)


def history_without_times(run_dir: Path) -> list[dict[str, str]]:
    with (run_dir / "history.csv").open() as file:
        return [
            {k: v for k, v in row.items() if k != "epoch_seconds"} for row in csv.DictReader(file)
        ]


def assert_same_result(one: Path, other: Path) -> None:
    assert history_without_times(one) == history_without_times(other)
    for name in ("last.pt", "best_model.pt"):
        ours, theirs = load_checkpoint(one / name).weights, load_checkpoint(other / name).weights
        assert all(torch.equal(tensor, theirs[key]) for key, tensor in ours.items())


def write_yaml(config: RunConfig) -> Path:
    path = config.experiment.output_dir / f"{config.experiment.name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dump_yaml(config))
    return path


def train_in_subprocess(
    config: RunConfig, *, kill_at: tuple[int, int], number: int, resume: str = ""
) -> int:
    """Train in a process that sends itself a signal after a step; return its exit code."""
    script = f"""
import os, signal, sys
from pathlib import Path
from lunet_cli.config.load import load_config
from lunet_cli.engine.training.train import train
from lunet_cli.results.training import StepDone
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whatever nohup wishes for the tests
def on_event(event):
    if isinstance(event, StepDone) and (event.epoch, event.step) == {kill_at}:
        os.kill(os.getpid(), {number})
result = train(load_config(Path(sys.argv[1])), resume={resume!r} or None, on_event=on_event)
print(result.outcome, result.signal)
"""
    command = [sys.executable, "-c", script, str(write_yaml(config))]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    if done.returncode == 0:
        assert done.stdout.split() == ["interrupted", str(number)], done.stdout + done.stderr
    return done.returncode


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    """Six epochs without disturbance."""
    folder = tmp_path_factory.mktemp("whole")
    return train(tiny(folder, "whole", "training.epochs=6", "training.checkpoint.save_every=3"))


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
        "summary.json",
        "train.log",
    }


def test_history_has_the_documented_columns(whole: TrainResult) -> None:
    header = (whole.run_dir / "history.csv").read_text().splitlines()[0]
    assert header == (
        "epoch,train_loss,val_loss,val_dice,val_dice_anterior,val_dice_posterior,val_dice_ventricle,"
        "learning_rate,epoch_seconds"
    )
    rows = history_without_times(whole.run_dir)
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4", "5", "6"]
    for row in rows:
        labels = [float(row[f"val_dice_{name}"]) for name in ("anterior", "posterior", "ventricle")]
        assert float(row["val_dice"]) == pytest.approx(sum(labels) / 3)


def test_training_learns(whole: TrainResult) -> None:
    assert whole.history[-1].train_loss < whole.history[0].train_loss


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


def test_best_model_belongs_to_the_best_epoch(whole: TrainResult) -> None:
    assert whole.best is not None
    assert whole.best.val_dice == max(record.val_dice for record in whole.history)
    assert load_checkpoint(whole.run_dir / "best_model.pt").epoch == whole.best.epoch


def test_checkpoints_are_plain(whole: TrainResult) -> None:
    values = torch.load(whole.run_dir / "last.pt", weights_only=True)
    assert values["network"]["channels"] == [1, 1, 1, 1, 1]
    assert values["labels"]["regions"] == {"anterior": [1], "posterior": [2], "ventricle": [3]}


def test_same_seed_gives_the_same_result_and_another_seed_does_not(
    whole: TrainResult, tmp_path: Path
) -> None:
    again = train(tiny(tmp_path, "again", "training.epochs=6"))
    assert history_without_times(again.run_dir) == history_without_times(whole.run_dir)
    other = train(
        tiny(tmp_path, "other", "training.epochs=1", "experiment.seed=7", "data.split.fold=0")
    )
    assert other.history[0].train_loss != whole.history[0].train_loss


def test_worker_processes_do_not_change_the_result(whole: TrainResult, tmp_path: Path) -> None:
    settings = (
        "training.epochs=2",
        "data.num_workers=2",
        "data.persistent_workers=true",
        "data.cache=none",
    )
    workers = train(tiny(tmp_path, "workers", *settings))
    assert history_without_times(workers.run_dir) == history_without_times(whole.run_dir)[:2]


def test_disk_cache_does_not_change_the_result(whole: TrainResult, tmp_path: Path) -> None:
    cached = train(tiny(tmp_path, "cached", "training.epochs=2", "data.cache=disk"))
    assert history_without_times(cached.run_dir) == history_without_times(whole.run_dir)[:2]
    assert list((tmp_path / ".cache").rglob("*.npy"))


def test_resume_after_sigkill_is_bit_identical(whole: TrainResult, tmp_path: Path) -> None:
    config = tiny(tmp_path, "killed", "training.epochs=6")
    assert train_in_subprocess(config, kill_at=(4, 2), number=signal.SIGKILL) == -signal.SIGKILL
    assert len(history_without_times(tmp_path / "killed")) == 3
    train(config, resume="auto")
    assert_same_result(tmp_path / "killed", whole.run_dir)


def test_resume_after_ctrl_c_goes_on_at_the_step(whole: TrainResult, tmp_path: Path) -> None:
    config = tiny(tmp_path, "stopped", "training.epochs=6")
    assert train_in_subprocess(config, kill_at=(4, 2), number=signal.SIGINT) == 0
    assert load_checkpoint(tmp_path / "stopped" / "last.pt").training["step"] == 2
    steps: list[tuple[int, int]] = []

    def remember(event: Event) -> None:
        if isinstance(event, StepDone):
            steps.append((event.epoch, event.step))

    train(config, resume="auto", on_event=remember)
    assert steps[0] == (4, 3)
    assert_same_result(tmp_path / "stopped", whole.run_dir)


def test_resume_with_average_schedule_and_sgd_is_bit_identical(tmp_path: Path) -> None:
    settings = (
        "training.epochs=3",
        "training.ema_decay=0.9",
        "training.scheduler=cosine",
        "training.optimizer=sgd",
    )
    straight = train(tiny(tmp_path, "straight", *settings))
    config = tiny(tmp_path, "broken", *settings)
    assert train_in_subprocess(config, kill_at=(2, 2), number=signal.SIGKILL) == -signal.SIGKILL
    train(config, resume=str(tmp_path / "broken"))
    assert_same_result(tmp_path / "broken", straight.run_dir)


def test_a_kill_while_a_checkpoint_is_written_leaves_the_old_one(tmp_path: Path) -> None:
    config = tiny(tmp_path, "torn", "training.epochs=3")
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
    done = subprocess.run(
        [sys.executable, "-c", script, str(write_yaml(config))], capture_output=True, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert load_checkpoint(tmp_path / "torn" / "last.pt").epoch == 1
    result = train(config, resume="auto")
    assert [record.epoch for record in result.history] == [1, 2, 3]
    assert not list((tmp_path / "torn").glob(".*"))


def test_a_used_run_folder_is_refused_with_both_ways_on(whole: TrainResult) -> None:
    with pytest.raises(OutputError, match="a run is here already") as caught:
        train(tiny(whole.run_dir.parent, "whole"))
    assert "--resume auto" in caught.value.hint
    assert "experiment.name=whole_2" in caught.value.hint


def test_resume_auto_starts_where_nothing_is(tmp_path: Path) -> None:
    result = train(tiny(tmp_path, "new", "training.epochs=1"), resume="auto")
    assert len(result.history) == 1


def test_resume_takes_more_epochs(tmp_path: Path) -> None:
    train(tiny(tmp_path, "more", "training.epochs=1"))
    events: list[Event] = []
    result = train(
        tiny(tmp_path, "more", "training.epochs=2"), resume="auto", on_event=events.append
    )
    assert [record.epoch for record in result.history] == [1, 2]
    assert any(
        str(event).endswith("after epoch 1, with training.epochs 2 (was 1)") for event in events
    )


def test_resume_of_a_finished_run_says_so(whole: TrainResult) -> None:
    with pytest.raises(ConfigError, match="has done 6 already"):
        train(tiny(whole.run_dir.parent, "whole", "training.epochs=6"), resume="auto")


def test_resume_from_a_checkpoint_into_a_new_folder(whole: TrainResult, tmp_path: Path) -> None:
    config = tiny(tmp_path, "fork", "training.epochs=6")
    train(config, resume=str(whole.run_dir / "checkpoint_epoch003.pt"))
    assert_same_result(tmp_path / "fork", whole.run_dir)


def copy_of(run: Path, to: Path) -> Path:
    shutil.copytree(run, to)
    return to


def set_validation(monkeypatch: pytest.MonkeyPatch, *validations: Validation) -> None:
    """Let these be what the next validations find."""
    left = iter(validations)
    monkeypatch.setattr(
        sys.modules["lunet_cli.engine.training.train"], "validate", lambda *_: next(left)
    )


def found(dice: float, loss: float = 1.0) -> Validation:
    return Validation(loss, dict.fromkeys(("anterior", "posterior", "ventricle"), dice))


def test_the_best_model_comes_along_into_a_new_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_validation(monkeypatch, found(0.5), found(0.4), found(0.3))
    first = train(tiny(tmp_path, "first", "training.epochs=2"))
    assert first.best is not None
    assert first.best.epoch == 1
    second = train(tiny(tmp_path, "second", "training.epochs=3"), resume=str(first.run_dir))
    assert second.best == first.best
    for name in ("best_model.pt", "summary.json"):
        assert (second.run_dir / name).exists()
    assert load_checkpoint(second.run_dir / "best_model.pt").epoch == 1


@pytest.mark.parametrize("how", ["removed", "damaged"])
def test_a_best_model_that_is_gone_is_said_and_the_best_counts_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    set_validation(monkeypatch, found(0.5), found(0.4), found(0.3))
    first = train(tiny(tmp_path, "run", "training.epochs=2"))
    best = first.run_dir / "best_model.pt"
    best.unlink() if how == "removed" else best.write_bytes(b"PK")
    events: list[Event] = []
    second = train(
        tiny(tmp_path, "run", "training.epochs=3"), resume="auto", on_event=events.append
    )
    assert [event.text for event in events if isinstance(event, WarningIssued)] == [
        f"{best}: the best model, of epoch 1, is not there any more"
    ]
    assert second.best is not None
    assert second.best.epoch == load_checkpoint(best).epoch == 3


def test_a_state_that_goes_on_elsewhere_is_there_from_the_start(
    whole: TrainResult, tmp_path: Path
) -> None:
    config = tiny(tmp_path, "fork", "training.epochs=6")
    saved: list[int] = []

    def look(event: Event) -> None:
        if isinstance(event, StepDone) and not saved:
            saved.append(load_checkpoint(tmp_path / "fork" / "last.pt").epoch)

    train(config, resume=str(whole.run_dir / "checkpoint_epoch003.pt"), on_event=look)
    assert saved == [3]


def test_an_end_that_is_missing_is_made_up_for(whole: TrainResult, tmp_path: Path) -> None:
    folder = copy_of(whole.run_dir, tmp_path / "whole")
    (folder / "summary.json").unlink()
    (folder / "history.csv").write_text("")
    config = tiny(tmp_path, "whole", "training.epochs=6")
    events: list[Event] = []
    closed: list[TrainResult] = []
    result = train(config, resume="auto", on_event=events.append, on_closing=closed.append)
    assert result.outcome == "finished"
    assert len(closed) == 1
    assert not any(isinstance(event, StepDone) for event in events)
    assert any("what is left is the end of the training" in str(event) for event in events)
    assert_same_result(folder, whole.run_dir)
    ours, theirs = ((run / "summary.json").read_text() for run in (folder, whole.run_dir))
    assert ours == theirs
    with pytest.raises(ConfigError, match="has done 6 already"):
        train(config, resume="auto")


def test_the_summary_of_fewer_epochs_is_not_the_end(tmp_path: Path) -> None:
    def fail(result: TrainResult) -> None:
        raise OutputError("no")

    train(tiny(tmp_path, "run", "training.epochs=1"))
    longer = tiny(tmp_path, "run", "training.epochs=2")
    with pytest.raises(OutputError, match="no"):
        train(longer, resume="auto", on_closing=fail)
    assert json.loads((tmp_path / "run/summary.json").read_text())["num_epochs"] == 1
    train(longer, resume="auto")
    assert json.loads((tmp_path / "run/summary.json").read_text())["num_epochs"] == 2


def test_a_signal_in_the_last_epoch_leaves_the_end_to_the_next_start(tmp_path: Path) -> None:
    config = tiny(tmp_path, "run", "training.epochs=2")
    assert train_in_subprocess(config, kill_at=(2, 3), number=signal.SIGHUP) == 0
    assert not (tmp_path / "run/summary.json").exists()
    assert train(config, resume="auto").outcome == "finished"


def test_a_second_training_is_told_and_the_first_goes_on(
    whole: TrainResult, tmp_path: Path
) -> None:
    config = tiny(tmp_path, "run", "training.epochs=6")
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
    assert_same_result(tmp_path / "run", whole.run_dir)
    assert not list((tmp_path / "run").glob(".*"))


@pytest.mark.parametrize("content", [None, "", "epoch,train_loss\n"])
def test_a_history_that_is_changed_meanwhile_is_said_and_written_anew(
    whole: TrainResult, tmp_path: Path, content: str | None
) -> None:
    history = tmp_path / "run" / "history.csv"
    events: list[Event] = []

    def change(event: Event) -> None:
        events.append(event)
        if isinstance(event, StepDone) and (event.epoch, event.step) == (3, 1):
            history.unlink() if content is None else history.write_text(content)

    train(tiny(tmp_path, "run", "training.epochs=6"), on_event=change)
    warnings = [
        event.text
        for event in events
        if isinstance(event, WarningIssued) and "history.csv" in event.text
    ]
    assert warnings == [
        f"{history}: was removed or changed while the training ran; it is written anew"
    ]
    assert history_without_times(tmp_path / "run") == history_without_times(whole.run_dir)


def test_a_run_folder_that_is_removed_meanwhile_is_one_error_and_stays_away(tmp_path: Path) -> None:
    def remove(event: Event) -> None:
        if isinstance(event, StepDone) and (event.epoch, event.step) == (2, 1):
            shutil.rmtree(tmp_path / "run")

    with pytest.raises(
        OutputError, match="run: was removed or renamed while the training wrote there"
    ):
        train(tiny(tmp_path, "run", "training.epochs=3"), on_event=remove)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "names", [("config.yaml",), ("case1.nii.gz", "notes.txt"), ("train.log", "masks.zip")]
)
def test_a_folder_of_other_things_is_not_trained_into(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    (tmp_path / "run").mkdir()
    for name in names:
        (tmp_path / "run" / name).write_text("precious")
    for resume in (None, "auto"):
        with pytest.raises(OutputError, match="is not a run folder and holds other things"):
            train(tiny(tmp_path, "run", "training.epochs=1"), resume=resume)
    assert {path.name: path.read_text() for path in (tmp_path / "run").iterdir()} == dict.fromkeys(
        names, "precious"
    )


def test_resume_auto_without_its_state_names_what_is_missing(
    whole: TrainResult, tmp_path: Path
) -> None:
    folder = copy_of(whole.run_dir, tmp_path / "whole")
    (folder / "last.pt").unlink()
    with pytest.raises(CheckpointError, match=r"last.pt: there is no such state to go on from"):
        train(tiny(tmp_path, "whole", "training.epochs=6"), resume="auto")


@pytest.mark.parametrize("world", ["2", "16", "x"])
def test_a_launcher_of_several_processes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, world: str
) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", world)
    config = tiny(tmp_path, "run")
    for job in (train, partial(dry_run, on_event=print)):
        with pytest.raises(TrainingError, match=f"WORLD_SIZE={world}: a launcher such as torchrun"):
            job(config)
    assert list(tmp_path.iterdir()) == []


def test_a_launcher_of_one_process_is_no_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert train(tiny(tmp_path, "run", "training.epochs=1")).outcome == "finished"


def test_a_validation_that_is_never_finite_keeps_no_model_and_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_validation(monkeypatch, found(0.5, math.nan), found(0.6, math.inf))
    events: list[Event] = []
    with pytest.raises(
        TrainingError, match="loss is inf since epoch 1; no model is kept"
    ) as caught:
        train(tiny(tmp_path, "run", "training.epochs=2"), on_event=events.append)
    assert "training.learning_rate" in caught.value.hint
    warnings = [event.text for event in events if isinstance(event, WarningIssued)]
    assert len(warnings) == 1
    assert "the validation loss of epoch 1 is nan" in warnings[0]
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {"config.yaml", "history.csv", "last.pt", "manifest.json", "train.log"}
    assert (
        (tmp_path / "run/train.log")
        .read_text()
        .splitlines()[-1]
        .endswith(f"error: {caught.value.message}")
    )


def test_a_validation_that_ends_without_a_number_fails_and_names_the_model_that_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_validation(monkeypatch, found(0.5), found(0.6, math.nan), found(0.7, math.nan))
    with pytest.raises(
        TrainingError, match="loss is nan since epoch 2; the best model is of epoch 1"
    ):
        train(tiny(tmp_path, "run", "training.epochs=3"))
    assert load_checkpoint(tmp_path / "run/best_model.pt").epoch == 1


def test_a_validation_that_recovers_is_said_and_forgiven(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_validation(monkeypatch, found(0.6, math.nan), found(0.5))
    result = train(tiny(tmp_path, "run", "training.epochs=2"))
    assert result.best is not None
    assert result.best.epoch == 2


def test_weights_that_are_not_finite_are_never_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the last step of an epoch, no loss would show it any more."""
    loop = sys.modules["lunet_cli.engine.training.loop"]
    real = loop.train_step

    def train_step(state: TrainState, *arguments: Any) -> float:
        loss: float = real(state, *arguments)
        if (state.epoch, state.step) == (1, 2):
            next(state.network.parameters()).data.view(-1)[0] = math.inf
        return loss

    monkeypatch.setattr(loop, "train_step", train_step)
    with pytest.raises(
        TrainingError, match="no longer finite in epoch 2; the last good state is kept"
    ):
        train(tiny(tmp_path, "run", "training.epochs=3"))
    state = load_checkpoint(tmp_path / "run/last.pt")
    assert state.epoch == 1
    assert all(bool(tensor.isfinite().all()) for tensor in state.weights.values())
    assert load_checkpoint(tmp_path / "run/best_model.pt").epoch == 1


def test_a_full_disk_leaves_the_last_state_and_says_so(
    whole: TrainResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_fsync, num_states = os.fsync, 0

    def fsync(descriptor: int) -> None:
        nonlocal num_states
        num_states += Path(os.readlink(f"/proc/self/fd/{descriptor}")).name.startswith(".last.pt")
        if num_states == 4:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real_fsync(descriptor)

    config = tiny(tmp_path, "run", "training.epochs=6")
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fsync)
        with pytest.raises(
            OutputError, match=r"last.pt: cannot be written \(No space left on device\)"
        ):
            train(config)
    assert not list((tmp_path / "run").glob(".*"))
    assert load_checkpoint(tmp_path / "run/last.pt").epoch == 2
    train(config, resume="auto")
    assert_same_result(tmp_path / "run", whole.run_dir)


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("model.architecture=unet_small_1f", "network"),
        ("preprocessing.normalization.name=minmax", "preprocessing"),
        ("labels={anterior: 1, posterior: 3, ventricle: 2}", "labels"),
    ],
)
def test_resume_of_another_model_is_refused(
    whole: TrainResult, tmp_path: Path, setting: str, named: str
) -> None:
    with pytest.raises(CheckpointError, match=f"its {named} differs") as caught:
        train(tiny(tmp_path, "x", setting), resume=str(whole.run_dir / "last.pt"))
    assert "\n" not in caught.value.message
    assert not (tmp_path / "x").exists()


def test_a_model_without_training_state_cannot_be_resumed(
    whole: TrainResult, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match="without the state of its training"):
        train(tiny(tmp_path, "x"), resume=str(whole.run_dir / "best_model.pt"))


def test_early_stopping_stops(tmp_path: Path) -> None:
    settings = (
        "training.epochs=50",
        "training.early_stopping_patience=2",
        "training.learning_rate=1e-9",
    )
    result = train(tiny(tmp_path, "early", *settings))
    assert result.outcome == "stopped early"
    assert result.best is not None
    assert len(result.history) == result.best.epoch + 2


def test_average_is_what_validates_and_is_kept(tmp_path: Path) -> None:
    result = train(tiny(tmp_path, "ema", "training.epochs=1", "training.ema_decay=0.999"))
    best, last = (
        load_checkpoint(result.run_dir / name).weights for name in ("best_model.pt", "last.pt")
    )
    assert not torch.equal(best["head.1.weight"], last["head.1.weight"])


def test_auto_precision_is_recorded_and_kept_on_resume(tmp_path: Path) -> None:
    events: list[Event] = []
    config = tiny(tmp_path, "auto", "training.epochs=1", "training.precision=auto")
    train(config, on_event=events.append)
    chosen = next(event for event in events if isinstance(event, PlanChosen))
    assert chosen.pins
    manifest = json.loads((tmp_path / "auto" / "manifest.json").read_text())
    assert manifest["execution"]["precision"] in chosen.name
    events.clear()
    longer = tiny(tmp_path, "auto", "training.epochs=2", "training.precision=auto")
    train(longer, resume="auto", on_event=events.append)
    kept = next(event for event in events if isinstance(event, PlanChosen))
    assert kept.name == chosen.name
    assert kept.pins == ()


def test_closing_measures_what_the_configuration_asks_for(tmp_path: Path) -> None:
    settings = (
        "training.epochs=1",
        "evaluation.metrics=[dice, hausdorff95]",
        "benchmark.enabled=true",
        "benchmark.timed_runs=2",
        "visualization.plot_slices=true",
        "visualization.num_samples=1",
        "visualization.slice_axis=sagittal",
    )
    result = train(tiny(tmp_path, "closing", *settings))
    assert {row.metric for row in result.metrics} == {"hausdorff95"}
    assert [row.label for row in result.metrics] == [
        "anterior",
        "posterior",
        "ventricle",
        "mean of labels",
    ]
    assert result.latency_ms is not None
    assert result.latency_ms > 0
    assert result.slices[0].image.shape == (32, 32)
    assert result.slices[0].reference.max() >= 1
    summary = json.loads((result.run_dir / "summary.json").read_text())
    assert summary["latency_ms"] == result.latency_ms


def test_one_region_of_all_labels_is_a_sigmoid_channel(tmp_path: Path) -> None:
    result = train(tiny(tmp_path, "one", "training.epochs=1", "model.out_channels=1"))
    assert list(result.history[0].val_dice_per_label) == ["foreground"]
    card = load_checkpoint(result.run_dir / "last.pt").card
    assert card.labels.activation == "sigmoid"
    assert card.labels.values == {1, 2, 3}


def test_patches_smaller_than_the_volume_train_and_validate(tmp_path: Path) -> None:
    settings = (
        "training.epochs=1",
        "training.patch_size=[16, 32, 16]",
        "training.patches_per_case=2",
    )
    result = train(tiny(tmp_path, "patches", *settings))
    assert load_checkpoint(result.run_dir / "last.pt").card.window == (16, 32, 16)
    assert 0 <= result.history[0].val_dice <= 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("training.batch_size=7",), "batch_size: 7 is more than the 5 patches"),
        (
            ("training.patch_size=[16, 16, 16]", "training.batch_size=1"),
            "leaves one voxel at the deepest level",
        ),
        (("model.in_channels=2",), "in_channels: 2, but the images have 1"),
        (
            ("benchmark.enabled=true", "benchmark.input_size=[1, 2, 8, 8, 8]"),
            "has 2 channels, and the images have 1",
        ),
        (("model.out_channels=5",), "out_channels: 5 does not fit 3 labels"),
        (("training.loss.name=bce",), "needs independent channels"),
        (("labels={anterior: 1}",), "label values 2, 3 not configured"),
        (("data.split.fold=4", "data.split.num_folds=9"), "9 folds of 6 cases"),
    ],
)
def test_settings_that_do_not_fit_the_data(
    tmp_path: Path, settings: tuple[str, ...], message: str
) -> None:
    with pytest.raises(LunetError, match=message) as caught:
        train(tiny(tmp_path, "bad", *settings))
    assert "\n" not in caught.value.message
    assert not (tmp_path / "bad").exists()


@pytest.mark.parametrize("cache", ["auto", "memory", "disk", "none"])
@pytest.mark.parametrize("limit_mib", [0, 4096])
def test_dry_run_writes_nothing_and_estimates(tmp_path: Path, cache: str, limit_mib: int) -> None:
    config = tiny(tmp_path, "dry", f"data.cache={cache}", f"data.cache_limit_mib={limit_mib}")
    estimate = dry_run(config, on_event=lambda event: None)
    assert list(tmp_path.iterdir()) == []
    assert estimate.num_parameters == 692
    assert estimate.activation_mib > 2 * 32**3 * 4 * 4 / 2**20
    assert estimate.epoch_seconds > 0


def test_a_diverging_run_keeps_the_last_good_state(tmp_path: Path) -> None:
    config = tiny(
        tmp_path,
        "diverging",
        "training.epochs=3",
        "training.learning_rate=1e30",
        "training.optimizer=sgd",
    )
    with pytest.raises(LunetError, match="the loss became"):
        train(config)
    assert load_checkpoint(tmp_path / "diverging" / "last.pt").epoch == 0


def test_events_tell_the_time_left(tmp_path: Path) -> None:
    events: list[Event] = []
    train(tiny(tmp_path, "events", "training.epochs=2"), on_event=events.append)
    epochs = [event for event in events if isinstance(event, EpochDone)]
    assert [event.record.epoch for event in epochs] == [1, 2]
    assert epochs[0].seconds_left > 0
    assert epochs[1].seconds_left == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_not_writable_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="not writable"):
        train(tiny(tmp_path, "x"))


def test_a_file_in_place_of_the_output_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="is a file"):
        train(tiny(tmp_path / "file", "x"))


def test_pictures_are_turned_along_the_patient_whatever_the_network_sees(tmp_path: Path) -> None:
    def pictures(orientation: str) -> tuple[Slice, ...]:
        more = [
            "training.epochs=1",
            f"preprocessing.orientation={orientation}",
            "visualization.plot_slices=true",
        ]
        return train(tiny(tmp_path, f"in_{orientation}", *more)).slices

    (expected,) = pictures("LPS")
    for orientation in ("RAS", "SPL"):
        (found,) = pictures(orientation)
        np.testing.assert_allclose(found.image, expected.image, atol=1e-5)
        np.testing.assert_array_equal(found.reference, expected.reference)
        assert found.caption == expected.caption
    (unknown,) = pictures("null")
    assert unknown.sides is None
    assert "axis 0 slice" in unknown.caption


def test_a_case_that_was_trained_on_does_not_validate_after_a_resume(tmp_path: Path) -> None:
    train(tiny(tmp_path, "split", "training.epochs=1"))
    other = tiny(tmp_path, "split", "training.epochs=2", "experiment.seed=7")
    with pytest.raises(
        CheckpointError, match=r"was trained on .* that would validate it now, such as "
    ):
        train(other, resume="auto")
