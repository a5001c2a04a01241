"""Going on: bit-equal to a run that was never interrupted, or refused."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from lunet_cli.engine.checkpoints.checkpoint import load_checkpoint
from lunet_cli.engine.networks import build_network
from lunet_cli.engine.training.train import train
from lunet_cli.errors import CheckpointError, ConfigError, OutputError
from lunet_cli.results.events import Event, WarningIssued
from lunet_cli.results.training import PlanChosen, StepDone, TrainResult


def test_resume_after_sigkill_is_bit_identical(
    runs: Any, whole: TrainResult, tmp_path: Path
) -> None:
    config = runs.tiny(tmp_path, "killed", "training.epochs=6")
    assert (
        runs.train_in_subprocess(config, kill_at=(4, 2), number=signal.SIGKILL) == -signal.SIGKILL
    )
    assert len(runs.history_without_times(tmp_path / "killed")) == 3
    train(config, resume="auto")
    runs.assert_same_result(tmp_path / "killed", whole.run_dir)


def test_resume_after_ctrl_c_goes_on_at_the_step(
    runs: Any, whole: TrainResult, tmp_path: Path
) -> None:
    config = runs.tiny(tmp_path, "stopped", "training.epochs=6")
    assert runs.train_in_subprocess(config, kill_at=(4, 2), number=signal.SIGINT) == 0
    assert load_checkpoint(tmp_path / "stopped" / "last.pt").training["step"] == 2
    steps: list[tuple[int, int]] = []

    def remember(event: Event) -> None:
        if isinstance(event, StepDone):
            steps.append((event.epoch, event.step))

    train(config, resume="auto", on_event=remember)
    assert steps[0] == (4, 3)
    runs.assert_same_result(tmp_path / "stopped", whole.run_dir)


def test_resume_with_average_schedule_and_sgd_is_bit_identical(runs: Any, tmp_path: Path) -> None:
    settings = (
        "training.epochs=3",
        "training.ema_decay=0.9",
        "training.scheduler=cosine",
        "training.optimizer=sgd",
    )
    straight = train(runs.tiny(tmp_path, "straight", *settings))
    config = runs.tiny(tmp_path, "broken", *settings)
    assert (
        runs.train_in_subprocess(config, kill_at=(2, 2), number=signal.SIGKILL) == -signal.SIGKILL
    )
    train(config, resume=str(tmp_path / "broken"))
    runs.assert_same_result(tmp_path / "broken", straight.run_dir)


SUPERVISED = (
    "training.epochs=4",
    "training.deep_supervision=true",
    "training.accumulate_batches=2",
    "training.validation_interval=3",
    "training.weight_decay=0.01",
)


def test_resume_with_heads_and_summed_gradients_is_bit_identical(runs: Any, tmp_path: Path) -> None:
    straight = train(runs.tiny(tmp_path, "straight", *SUPERVISED))
    config = runs.tiny(tmp_path, "broken", *SUPERVISED)
    assert runs.train_in_subprocess(config, kill_at=(3, 1), number=signal.SIGINT) == 0
    train(config, resume="auto")
    runs.assert_same_result(tmp_path / "broken", straight.run_dir)
    # Two steps of two batches and of one.
    checkpoint = load_checkpoint(straight.run_dir / "last.pt")
    steps = {float(state["step"]) for state in checkpoint.training["optimizer"]["state"].values()}
    assert steps == {8.0}
    assert [record.is_validated for record in straight.history] == [False, False, True, True]
    assert straight.best in straight.history[2:]
    # The heads stay behind.
    best = load_checkpoint(straight.run_dir / "best_model.pt")
    assert best.training is None
    assert best.weights.keys() == build_network(best.card.network).state_dict().keys()
    assert checkpoint.training["heads"]


@pytest.mark.parametrize(("before", "after"), [("true", "false"), ("false", "true")])
def test_deep_supervision_cannot_change_on_the_way(
    runs: Any, tmp_path: Path, before: str, after: str
) -> None:
    setting = "training.deep_supervision"
    train(runs.tiny(tmp_path, "run", "training.epochs=1", f"{setting}={before}"))
    config = runs.tiny(tmp_path, "run", "training.epochs=2", f"{setting}={after}")
    with pytest.raises(CheckpointError, match="deep supervision") as caught:
        train(config, resume="auto")
    assert f"{setting}={before}" in caught.value.hint


def test_resume_takes_more_epochs(runs: Any, tmp_path: Path) -> None:
    train(runs.tiny(tmp_path, "more", "training.epochs=1"))
    events: list[Event] = []
    result = train(
        runs.tiny(tmp_path, "more", "training.epochs=2"), resume="auto", on_event=events.append
    )
    assert [record.epoch for record in result.history] == [1, 2]
    assert any(
        str(event).endswith("after epoch 1, with training.epochs 2 (was 1)") for event in events
    )


def test_resume_from_a_checkpoint_into_a_new_folder(
    runs: Any, whole: TrainResult, tmp_path: Path
) -> None:
    config = runs.tiny(tmp_path, "fork", "training.epochs=6")
    train(config, resume=str(whole.run_dir / "checkpoint_epoch003.pt"))
    runs.assert_same_result(tmp_path / "fork", whole.run_dir)


def test_the_best_model_comes_along_into_a_new_folder(
    runs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs.set_validation(monkeypatch, runs.found(0.5), runs.found(0.4), runs.found(0.3))
    first = train(runs.tiny(tmp_path, "first", "training.epochs=2"))
    assert first.best is not None
    assert first.best.epoch == 1
    second = train(runs.tiny(tmp_path, "second", "training.epochs=3"), resume=str(first.run_dir))
    assert second.best == first.best
    for name in ("best_model.pt", "training.json"):
        assert (second.run_dir / name).exists()
    assert load_checkpoint(second.run_dir / "best_model.pt").epoch == 1


@pytest.mark.parametrize("how", ["removed", "damaged"])
def test_a_best_model_that_is_gone_is_said_and_the_best_counts_anew(
    runs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    runs.set_validation(monkeypatch, runs.found(0.5), runs.found(0.4), runs.found(0.3))
    first = train(runs.tiny(tmp_path, "run", "training.epochs=2"))
    best = first.run_dir / "best_model.pt"
    best.unlink() if how == "removed" else best.write_bytes(b"PK")
    events: list[Event] = []
    second = train(
        runs.tiny(tmp_path, "run", "training.epochs=3"), resume="auto", on_event=events.append
    )
    assert [event.text for event in events if isinstance(event, WarningIssued)] == [
        f"{best}: the best model, of epoch 1, is not there any more"
    ]
    assert second.best is not None
    assert second.best.epoch == load_checkpoint(best).epoch == 3


def test_a_state_that_goes_on_elsewhere_is_there_from_the_start(
    runs: Any, whole: TrainResult, tmp_path: Path
) -> None:
    config = runs.tiny(tmp_path, "fork", "training.epochs=6")
    saved: list[int] = []

    def look(event: Event) -> None:
        if isinstance(event, StepDone) and not saved:
            saved.append(load_checkpoint(tmp_path / "fork" / "last.pt").epoch)

    train(config, resume=str(whole.run_dir / "checkpoint_epoch003.pt"), on_event=look)
    assert saved == [3]


def test_an_end_that_is_missing_is_made_up_for(
    runs: Any, whole: TrainResult, tmp_path: Path
) -> None:
    folder = runs.copy_of(whole.run_dir, tmp_path / "whole")
    (folder / "training.json").unlink()
    (folder / "history.csv").write_text("")
    config = runs.tiny(tmp_path, "whole", "training.epochs=6")
    events: list[Event] = []
    closed: list[TrainResult] = []
    result = train(config, resume="auto", on_event=events.append, on_closing=closed.append)
    assert result.outcome == "finished"
    assert len(closed) == 1
    assert not any(isinstance(event, StepDone) for event in events)
    assert any("what is left is the end of the training" in str(event) for event in events)
    runs.assert_same_result(folder, whole.run_dir)
    ours, theirs = ((run / "training.json").read_text() for run in (folder, whole.run_dir))
    assert ours == theirs
    with pytest.raises(ConfigError, match="has done 6 already"):
        train(config, resume="auto")


def test_the_summary_of_fewer_epochs_is_not_the_end(runs: Any, tmp_path: Path) -> None:
    def fail(result: TrainResult) -> None:
        raise OutputError("no")

    train(runs.tiny(tmp_path, "run", "training.epochs=1"))
    longer = runs.tiny(tmp_path, "run", "training.epochs=2")
    with pytest.raises(OutputError, match="no"):
        train(longer, resume="auto", on_closing=fail)
    assert json.loads((tmp_path / "run/training.json").read_text())["num_epochs"] == 1
    train(longer, resume="auto")
    assert json.loads((tmp_path / "run/training.json").read_text())["num_epochs"] == 2


def test_a_signal_in_the_last_epoch_leaves_the_end_to_the_next_start(
    runs: Any, tmp_path: Path
) -> None:
    config = runs.tiny(tmp_path, "run", "training.epochs=2")
    assert runs.train_in_subprocess(config, kill_at=(2, 3), number=signal.SIGHUP) == 0
    assert not (tmp_path / "run/training.json").exists()
    assert train(config, resume="auto").outcome == "finished"


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("model.architecture=unet_small_1f", "network"),
        ("preprocessing.normalization.name=minmax", "preprocessing"),
        ("labels={anterior: 1, posterior: 3, ventricle: 2}", "labels"),
    ],
)
def test_resume_of_another_model_is_refused(
    runs: Any, whole: TrainResult, tmp_path: Path, setting: str, named: str
) -> None:
    with pytest.raises(CheckpointError, match=f"its {named} differs") as caught:
        train(runs.tiny(tmp_path, "x", setting), resume=str(whole.run_dir / "last.pt"))
    assert "\n" not in caught.value.message
    assert not (tmp_path / "x").exists()


def test_auto_precision_is_recorded_and_kept_on_resume(runs: Any, tmp_path: Path) -> None:
    events: list[Event] = []
    config = runs.tiny(tmp_path, "auto", "training.epochs=1", "training.precision=auto")
    train(config, on_event=events.append)
    chosen = next(event for event in events if isinstance(event, PlanChosen))
    assert chosen.pins
    manifest = json.loads((tmp_path / "auto" / "manifest.json").read_text())
    assert manifest["execution"]["precision"] in chosen.name
    events.clear()
    longer = runs.tiny(tmp_path, "auto", "training.epochs=2", "training.precision=auto")
    train(longer, resume="auto", on_event=events.append)
    kept = next(event for event in events if isinstance(event, PlanChosen))
    assert kept.name == chosen.name
    assert kept.pins == ()


def test_a_case_that_was_trained_on_does_not_validate_after_a_resume(
    runs: Any, tmp_path: Path
) -> None:
    train(runs.tiny(tmp_path, "split", "training.epochs=1"))
    other = runs.tiny(tmp_path, "split", "training.epochs=2", "experiment.seed=7")
    with pytest.raises(
        CheckpointError, match=r"was trained on .* that would validate it now, such as "
    ):
        train(other, resume="auto")
