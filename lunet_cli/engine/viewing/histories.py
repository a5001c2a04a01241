"""How trainings and prunings went, from the tables in their run folders; loads no PyTorch."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lunet_cli.engine.run_folder import RunFolder, names_of
from lunet_cli.engine.viewing.prunings import chosen_of
from lunet_cli.errors import DataError
from lunet_cli.results.training import TrainingHistory
from lunet_cli.results.views import ChannelHistory
from lunet_cli.results.words import visible


def read_history(run: Path) -> TrainingHistory:
    """Read how a training went so far.

    Raises:
        DataError: The folder has no history.
    """
    folder = RunFolder(run)
    records = folder.read_history()
    return TrainingHistory(
        visible(run.resolve().name),
        tuple(records),
        folder.has_ended(len(records)),
        chosen_of(run),
    )


def seconds_since_epoch(run: Path) -> float:
    """How long ago the last epoch of a run was written."""
    # The clock of a file server may run ahead of ours.
    return max(0.0, time.time() - RunFolder(run).history.stat().st_mtime)


def without_epochs(runs: Sequence[Path]) -> dict[Path, str]:
    """The runs that have no epoch yet, or none that can be read, each with the reason."""
    found: dict[Path, str] = {}
    for run in runs:
        try:
            read_history(run)
        except DataError as error:
            found[run] = error.message
    return found


def read_histories(runs: Sequence[Path]) -> list[TrainingHistory]:
    """Read several, under names that differ.

    Raises:
        DataError: A folder has no history.
    """
    return [
        replace(read_history(run), name=name)
        for run, name in zip(runs, names_of(runs), strict=True)
    ]


def read_channels(run: Path) -> ChannelHistory:
    """Read how the channels of a run changed while it was pruned.

    Raises:
        DataError: It was not pruned, or its table is damaged.
    """
    return RunFolder(run).read_channels()
