"""What a training may begin from, and where."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lunet_cli.engine.training.dry_run import dry_run
from lunet_cli.engine.training.folds import train_folds
from lunet_cli.engine.training.train import train
from lunet_cli.errors import CheckpointError, ConfigError, OutputError, TrainingError
from lunet_cli.results.training import TrainResult


def test_a_used_run_folder_is_refused_with_both_ways_on(runs: Any, whole: TrainResult) -> None:
    with pytest.raises(OutputError, match="a run is here already") as caught:
        train(runs.tiny(whole.run_dir.parent, "whole"))
    assert "`resume=auto`" in caught.value.hint
    assert "`experiment.name=whole_2`" in caught.value.hint


def test_resume_auto_starts_where_nothing_is(runs: Any, tmp_path: Path) -> None:
    result = train(runs.tiny(tmp_path, "new", "training.epochs=1"), resume="auto")
    assert len(result.history) == 1


def test_resume_of_a_finished_run_says_so(runs: Any, whole: TrainResult) -> None:
    with pytest.raises(ConfigError, match="has done 6 already"):
        train(runs.tiny(whole.run_dir.parent, "whole", "training.epochs=6"), resume="auto")


@pytest.mark.parametrize(
    "names", [("config.yaml",), ("case1.nii.gz", "notes.txt"), ("train.log", "masks.zip")]
)
def test_a_folder_of_other_things_is_not_trained_into(
    runs: Any, tmp_path: Path, names: tuple[str, ...]
) -> None:
    (tmp_path / "run").mkdir()
    for name in names:
        (tmp_path / "run" / name).write_text("precious")
    for resume in (None, "auto"):
        with pytest.raises(OutputError, match="is not a run folder and holds other things"):
            train(runs.tiny(tmp_path, "run", "training.epochs=1"), resume=resume)
    assert {path.name: path.read_text() for path in (tmp_path / "run").iterdir()} == dict.fromkeys(
        names, "precious"
    )


def test_resume_auto_without_its_state_names_what_is_missing(
    runs: Any, whole: TrainResult, tmp_path: Path
) -> None:
    folder = runs.copy_of(whole.run_dir, tmp_path / "whole")
    (folder / "last.pt").unlink()
    with pytest.raises(CheckpointError, match=r"last.pt: there is no such state to go on from"):
        train(runs.tiny(tmp_path, "whole", "training.epochs=6"), resume="auto")


@pytest.mark.parametrize("world", ["2", "16", "x"])
def test_jobs_of_one_process_refuse_a_launcher_of_several(
    runs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, world: str
) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", world)
    config = runs.tiny(tmp_path, "run")
    for job in (train_folds, partial(dry_run, on_event=print)):
        with pytest.raises(TrainingError, match=f"WORLD_SIZE={world}: a launcher such as torchrun"):
            job(config)
    assert list(tmp_path.iterdir()) == []


def test_a_launcher_of_one_process_is_no_matter(
    runs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert train(runs.tiny(tmp_path, "run", "training.epochs=1")).outcome == "finished"


def test_a_model_without_training_state_cannot_be_resumed(
    runs: Any, whole: TrainResult, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match="without the state of its training"):
        train(runs.tiny(tmp_path, "x"), resume=str(whole.run_dir / "best_model.pt"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_not_writable_is_refused(runs: Any, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="not writable"):
        train(runs.tiny(tmp_path, "x"))


def test_a_file_in_place_of_the_output_folder_is_refused(runs: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="is a file"):
        train(runs.tiny(tmp_path / "file", "x"))
