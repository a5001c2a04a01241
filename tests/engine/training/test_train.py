"""The training job as a whole."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from lunet_cli.engine.checkpoints.checkpoint import load_checkpoint
from lunet_cli.engine.training.state import TrainState
from lunet_cli.engine.training.train import train
from lunet_cli.errors import LunetError, TrainingError
from lunet_cli.results.events import Event, WarningIssued
from lunet_cli.results.training import TrainResult


def test_training_learns(whole: TrainResult) -> None:
    assert whole.history[-1].train_loss < whole.history[0].train_loss


def test_best_model_belongs_to_the_best_epoch(whole: TrainResult) -> None:
    assert whole.best is not None
    assert whole.best.val_dice == max(record.val_dice for record in whole.history)
    assert load_checkpoint(whole.run_dir / "best_model.pt").epoch == whole.best.epoch


def test_same_seed_gives_the_same_result_and_another_seed_does_not(
    runs: Any, whole: TrainResult, tmp_path: Path
) -> None:
    again = train(runs.tiny(tmp_path, "again", "training.epochs=6"))
    assert runs.history_without_times(again.run_dir) == runs.history_without_times(whole.run_dir)
    other = train(
        runs.tiny(tmp_path, "other", "training.epochs=1", "experiment.seed=7", "data.split.fold=0")
    )
    assert other.history[0].train_loss != whole.history[0].train_loss


def test_worker_processes_do_not_change_the_result(
    runs: Any, whole: TrainResult, tmp_path: Path
) -> None:
    settings = (
        "training.epochs=2",
        "data.num_workers=2",
        "data.persistent_workers=true",
        "data.cache=none",
    )
    workers = train(runs.tiny(tmp_path, "workers", *settings))
    assert (
        runs.history_without_times(workers.run_dir) == runs.history_without_times(whole.run_dir)[:2]
    )


def test_disk_cache_does_not_change_the_result(
    runs: Any, whole: TrainResult, tmp_path: Path
) -> None:
    cached = train(runs.tiny(tmp_path, "cached", "training.epochs=2", "data.cache=disk"))
    assert (
        runs.history_without_times(cached.run_dir) == runs.history_without_times(whole.run_dir)[:2]
    )
    assert list((tmp_path / ".cache").rglob("*.npy"))


def test_a_validation_that_is_never_finite_keeps_no_model_and_fails(
    runs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs.set_validation(monkeypatch, runs.found(0.5, math.nan), runs.found(0.6, math.inf))
    events: list[Event] = []
    with pytest.raises(
        TrainingError, match="loss is inf since epoch 1; no model is kept"
    ) as caught:
        train(runs.tiny(tmp_path, "run", "training.epochs=2"), on_event=events.append)
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
    runs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs.set_validation(
        monkeypatch, runs.found(0.5), runs.found(0.6, math.nan), runs.found(0.7, math.nan)
    )
    with pytest.raises(
        TrainingError, match="loss is nan since epoch 2; the best model is of epoch 1"
    ):
        train(runs.tiny(tmp_path, "run", "training.epochs=3"))
    assert load_checkpoint(tmp_path / "run/best_model.pt").epoch == 1


def test_a_validation_that_recovers_is_said_and_forgiven(
    runs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs.set_validation(monkeypatch, runs.found(0.6, math.nan), runs.found(0.5))
    result = train(runs.tiny(tmp_path, "run", "training.epochs=2"))
    assert result.best is not None
    assert result.best.epoch == 2


def test_weights_that_are_not_finite_are_never_saved(
    runs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
        train(runs.tiny(tmp_path, "run", "training.epochs=3"))
    state = load_checkpoint(tmp_path / "run/last.pt")
    assert state.epoch == 1
    assert all(bool(tensor.isfinite().all()) for tensor in state.weights.values())
    assert load_checkpoint(tmp_path / "run/best_model.pt").epoch == 1


def test_early_stopping_stops(runs: Any, tmp_path: Path) -> None:
    settings = (
        "training.epochs=50",
        "training.early_stopping_patience=2",
        "training.learning_rate=1e-9",
    )
    result = train(runs.tiny(tmp_path, "early", *settings))
    assert result.outcome == "stopped early"
    assert result.best is not None
    assert len(result.history) == result.best.epoch + 2


def test_average_is_what_validates_and_is_kept(runs: Any, tmp_path: Path) -> None:
    result = train(runs.tiny(tmp_path, "ema", "training.epochs=1", "training.ema_decay=0.999"))
    best, last = (
        load_checkpoint(result.run_dir / name).weights for name in ("best_model.pt", "last.pt")
    )
    assert not torch.equal(best["head.1.weight"], last["head.1.weight"])


def test_one_region_of_all_labels_is_a_sigmoid_channel(runs: Any, tmp_path: Path) -> None:
    result = train(runs.tiny(tmp_path, "one", "training.epochs=1", "model.out_channels=1"))
    assert list(result.history[0].val_dice_per_label) == ["foreground"]
    card = load_checkpoint(result.run_dir / "last.pt").card
    assert card.labels.activation == "sigmoid"
    assert card.labels.values == {1, 2, 3}


def test_patches_smaller_than_the_volume_train_and_validate(runs: Any, tmp_path: Path) -> None:
    settings = (
        "training.epochs=1",
        "training.patch_size=[16, 32, 16]",
        "training.patches_per_case=2",
    )
    result = train(runs.tiny(tmp_path, "patches", *settings))
    assert load_checkpoint(result.run_dir / "last.pt").card.window == (16, 32, 16)
    assert 0 <= result.history[0].val_dice <= 1


def test_a_diverging_run_keeps_the_last_good_state(runs: Any, tmp_path: Path) -> None:
    config = runs.tiny(
        tmp_path,
        "diverging",
        "training.epochs=3",
        "training.learning_rate=1e30",
        "training.optimizer=sgd",
    )
    with pytest.raises(LunetError, match="the loss became"):
        train(config)
    assert load_checkpoint(tmp_path / "diverging" / "last.pt").epoch == 0
