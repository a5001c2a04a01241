"""What a training begins from: a state of ours, weights of the authors, or nothing."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lunet_cli.engine.checkpoints.authors import is_authors_checkpoint
from lunet_cli.engine.checkpoints.checkpoint import Checkpoint, load_checkpoint, load_values
from lunet_cli.engine.run_folder import RunFolder
from lunet_cli.errors import CheckpointError, ConfigError, TrainingError

PRUNING = "pruning"
"""Where the state of a pruning stands in that of its training."""


@dataclass(frozen=True)
class SavedState:
    """A state of ours, which a training goes on from.

    Args:
        path: The file that it was read from.
        checkpoint: What it holds.
        training: The state of the training in it, see `TrainState.to_dict`.
    """

    path: Path
    checkpoint: Checkpoint
    training: dict[str, Any]

    @property
    def is_of_pruning(self) -> bool:
        """Whether it is the state of a pruning, which trains a network too, between its steps."""
        return PRUNING in self.training


@dataclass(frozen=True)
class AuthorsWeights:
    """A checkpoint of the authors' release, which gives weights to start with.

    Args:
        path: The file that it was read from.
        values: What it holds.
    """

    path: Path
    values: dict[str, Any]


Start = SavedState | AuthorsWeights | None
"""None is a fresh start."""


def require_one_process() -> None:
    """Raise if a launcher has started several processes for a job that uses one.

    Raises:
        TrainingError: It has.
    """
    world = os.environ.get("WORLD_SIZE", "")
    if world not in ("", "1"):
        raise TrainingError(
            f"WORLD_SIZE={world}: a launcher such as torchrun has started several processes, "
            "and this job uses one",
            hint="Start it without the launcher; a training may have several.",
        )


def find_resume_source(resume: str | None, folder: RunFolder) -> Path | None:
    """The checkpoint file that `resume` means.

    Returns:
        The file; None for a fresh start, for which the folder is free then.

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
        return _newest_state(folder)
    path = Path(resume)
    if path.is_dir():
        path = RunFolder(path).last
    if not path.exists():
        raise CheckpointError(f"{path}: there is no such checkpoint to resume from")
    return path


def _newest_state(folder: RunFolder) -> Path | None:
    if folder.last.exists():
        return folder.last
    if folder.is_used:
        raise CheckpointError(
            f"{folder.last}: there is no such state to go on from",
            hint="Resume from a checkpoint_epochNNN.pt beside it, if there is one, into another "
            "`experiment.name`.",
        )
    return None


def read_start(path: Path | None) -> Start:
    """Read the file that a training begins from.

    Raises:
        CheckpointError: It cannot be resumed from.
    """
    if path is None:
        return None
    values = load_values(path)
    if is_authors_checkpoint(values):
        return AuthorsWeights(path, values)
    checkpoint = load_checkpoint(path, values)
    if checkpoint.training is None:
        raise CheckpointError(
            f"{path}: holds a model without the state of its training",
            hint="Resume from last.pt or a checkpoint_epochNNN.pt of its run folder.",
        )
    return SavedState(path, checkpoint, checkpoint.training)


def is_newest_of(start: Start, folder: RunFolder) -> bool:
    """Whether a training begins from the newest state of this run folder."""
    return start is not None and start.path.resolve() == folder.last.resolve()


def require_work_left(start: Start, folder: RunFolder, num_epochs: int) -> None:
    """Raise if nothing would be left to do: all epochs are done, and the end of the training too.

    Raises:
        ConfigError: It is so.
    """
    if not isinstance(start, SavedState) or start.checkpoint.epoch < num_epochs:
        return
    done = start.checkpoint.epoch
    # A run may have been killed between its last epoch and its end, which is then made up for.
    lacks_its_end = (
        is_newest_of(start, folder) and done == num_epochs and not folder.has_ended(done)
    )
    if not lacks_its_end:
        raise ConfigError(
            f"training.epochs: {num_epochs}, and {start.path} has done {done} already",
            hint=f"To go on, raise it: `training.epochs={2 * done}`",
        )
