"""The validation in one pass at the end of a training, and where it is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lunet_cli.engine.checkpoints.checkpoint import load_checkpoint
from lunet_cli.engine.training.train import train
from lunet_cli.results.training import TrainResult

PATCHES = (
    "training.epochs=2",
    "training.patch_size=[16,16,16]",
    "training.patches_per_case=2",
)


class Killed(BaseException):
    """The end of a process, which nothing in it catches."""


def kill(result: TrainResult) -> None:
    raise Killed


def test_run_that_is_killed_before_its_end_is_written_goes_on(runs: Any, tmp_path: Path) -> None:
    config = runs.tiny(tmp_path, "killed", *PATCHES)
    with pytest.raises(Killed):
        train(config, on_closing=kill)
    folder = tmp_path / "killed"
    kept = load_checkpoint(folder / "best_model.pt").modes
    assert kept is not None
    assert kept.share_larger == 1
    assert not (folder / "training.json").exists()
    before = runs.history_without_times(folder)
    result = train(config, resume="auto")
    assert result.outcome == "finished"
    assert result.one_pass_dice == kept.one_pass
    assert load_checkpoint(folder / "best_model.pt").modes == kept
    assert runs.history_without_times(folder) == before
    straight = train(runs.tiny(tmp_path, "straight", *PATCHES))
    assert straight.one_pass_dice == result.one_pass_dice


def test_newer_best_model_does_not_keep_what_was_measured_of_an_older_one(
    runs: Any, tmp_path: Path
) -> None:
    config = runs.tiny(tmp_path, "run", *PATCHES)
    first = train(config)
    with pytest.raises(Killed):
        train(runs.tiny(tmp_path, "run", *PATCHES, "training.epochs=6"), resume="auto",
              on_closing=kill)  # fmt: skip
    best = load_checkpoint(tmp_path / "run" / "best_model.pt")
    assert first.best is not None
    assert best.epoch > first.best.epoch
    assert best.modes is not None
    assert best.modes.one_pass != first.one_pass_dice


def test_volumes_that_fit_the_window_are_not_measured_twice(runs: Any, tmp_path: Path) -> None:
    result = train(runs.tiny(tmp_path, "run", "training.epochs=1"))
    assert result.one_pass_dice is None
    assert load_checkpoint(tmp_path / "run" / "best_model.pt").modes is None
