"""What a training begins from: a state of ours, weights of the authors, or nothing."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lunet_cli.engine.checkpoints.authors import is_authors_checkpoint
from lunet_cli.engine.checkpoints.checkpoint import Checkpoint, load_checkpoint, load_values
from lunet_cli.engine.run_folder import RunFolder
from lunet_cli.engine.training.setup import Setup
from lunet_cli.errors import CheckpointError, ConfigError, TrainingError
from lunet_cli.results.words import plural


def require_one_process() -> None:
    """Raise if a launcher has started several processes for one training.

    Raises:
        TrainingError: It has.
    """
    world = os.environ.get("WORLD_SIZE", "")
    if world not in ("", "1"):
        raise TrainingError(
            f"WORLD_SIZE={world}: a launcher such as torchrun has started several processes, and a training uses one",
            hint="Start lunet train without the launcher.",
        )


def find_resume_source(resume: str | None, folder: RunFolder) -> Path | None:
    """The checkpoint file that `resume` means; None for a fresh start, for which the folder is free then.

    Raises:
        CheckpointError: There is no such file.
        OutputError: A fresh start would overwrite something.
    """
    path = _resume_path(resume, folder)
    if path is None or path.parent.resolve() != folder.path.resolve():
        folder.require_free()
    return path


def _resume_path(resume: str | None, folder: RunFolder) -> Path | None:
    if resume is None:
        return None
    if resume == "auto":
        if folder.is_used and not folder.last.exists():
            raise CheckpointError(
                f"{folder.last}: there is no such state to go on from",
                hint="Resume from a checkpoint_epochNNN.pt beside it, if there is one, into another experiment.name.",
            )
        return folder.last if folder.last.exists() else None
    path = Path(resume)
    if path.is_dir():
        path = RunFolder(path).last
    if not path.exists():
        raise CheckpointError(f"{path}: there is no such checkpoint to resume from")
    return path


@dataclass(frozen=True)
class Start:
    """What a training begins from.

    Args:
        path: The file that it was read from; None for a fresh start.
        checkpoint: A state of ours.
        foreign: Values of a checkpoint of the authors.
    """

    path: Path | None = None
    checkpoint: Checkpoint | None = None
    foreign: dict[str, Any] | None = None

    def is_newest_of(self, folder: RunFolder) -> bool:
        """Whether it is the newest state of this run folder."""
        return self.path is not None and self.path.resolve() == folder.last.resolve()


def read_start(path: Path | None) -> Start:
    """Read the file that a training begins from.

    Raises:
        CheckpointError: It cannot be resumed from.
    """
    if path is None:
        return Start()
    values = load_values(path)
    if is_authors_checkpoint(values):
        return Start(path, foreign=values)
    checkpoint = load_checkpoint(path, values)
    if checkpoint.training is None:
        raise CheckpointError(
            f"{path}: holds a model without the state of its training",
            hint="Resume from last.pt or a checkpoint_epochNNN.pt of its run folder.",
        )
    return Start(path, checkpoint)


def require_work_left(start: Start, folder: RunFolder, num_epochs: int) -> None:
    """Raise if nothing would be left to do: all epochs are done, and the end of the training too.

    Raises:
        ConfigError: It is so.
    """
    if start.checkpoint is None or start.checkpoint.epoch < num_epochs:
        return
    done = start.checkpoint.epoch
    lacks_its_end = start.is_newest_of(folder) and done == num_epochs and not folder.has_ended(done)
    if not lacks_its_end:
        raise ConfigError(
            f"training.epochs: {num_epochs}, and {start.path} has done {done} already",
            hint=f"To go on, raise it: --set training.epochs={2 * done}",
        )


def read_model(path: Path) -> Checkpoint | None:
    """A model that was kept; None if there is no such file, or it cannot be read."""
    try:
        return load_checkpoint(path)
    except CheckpointError:
        return None


def require_same_card(setup: Setup, checkpoint: Checkpoint, path: Path | None) -> None:
    """A resumed training must be of the same network, labels and preprocessing."""
    ours, theirs = setup.card.to_dict(), checkpoint.card.to_dict()
    for part, value in ours.items():
        if theirs[part] != value:
            detail = _first_difference(theirs[part], value)
            raise CheckpointError(
                f"{path}: its {part} differs from the configuration's: {detail}",
                hint="Resume with the configuration of that run: config.yaml in its folder.",
            )


def require_same_sides(setup: Setup, path: Path) -> None:
    """Raise if a case that a run was trained on would validate it from now on.

    Raises:
        CheckpointError: One would.
    """
    manifest = RunFolder(path.parent).read_manifest()
    if manifest is None:
        return
    trained_on = set(manifest.split.train)
    mixed = [case.case_id for case in setup.split.val if case.case_id in trained_on]
    if mixed:
        raise CheckpointError(
            f"{path}: was trained on {plural(len(mixed), 'case')} that would validate it now, such as {mixed[0]}",
            hint="Resume with the data, the split and the seed of that run: config.yaml in its folder.",
        )


def changed_settings(theirs: dict[str, Any], ours: dict[str, Any], prefix: str = "") -> list[str]:
    """Say for each setting that differs what it was and what it is."""
    changed: list[str] = []
    for key, value in ours.items():
        before = theirs.get(key)
        if isinstance(value, dict) and isinstance(before, dict):
            changed += changed_settings(before, value, f"{prefix}{key}.")
        elif value != before:
            changed.append(f"{prefix}{key} {value} (was {before})")
    return changed


def _first_difference(theirs: Any, ours: Any) -> str:
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for key in {**theirs, **ours}:
            if theirs.get(key) != ours.get(key):
                return f"{key} {theirs.get(key)} there, {ours.get(key)} here"
    return f"{theirs} there, {ours} here"
