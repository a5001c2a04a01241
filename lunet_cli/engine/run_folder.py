"""The run folder: which files it has and how they are written."""

from __future__ import annotations

import contextlib
import csv
import datetime
import io
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lunet_cli.config.load import dump_yaml
from lunet_cli.config.run import RunConfig
from lunet_cli.engine.files import write_atomically
from lunet_cli.errors import DataError, OutputError
from lunet_cli.results.events import Event
from lunet_cli.results.training import EpochRecord
from lunet_cli.results.words import visible

LAST, BEST, HISTORY = "last.pt", "best_model.pt", "history.csv"
_PER_LABEL = "val_dice_"


class RunFolder:
    """Files of one run.

    Args:
        path: `<output_dir>/<name>`; made by `create`, not before.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def last(self) -> Path:
        """State after the newest epoch, or where the run was interrupted."""
        return self.path / LAST

    @property
    def best(self) -> Path:
        """The model with the best validation Dice."""
        return self.path / BEST

    @property
    def is_used(self) -> bool:
        """Whether a run has left results here; one that was killed before its first state has none."""
        return any(self.path.glob("*.pt"))

    def kept_checkpoint(self, epoch: int) -> Path:
        """Where the state of `epoch` is kept for good."""
        return self.path / f"checkpoint_epoch{epoch:03d}.pt"

    def require_free(self) -> None:
        """Raise if a run is here already.

        Raises:
            OutputError: With the two ways on.
        """
        if self.is_used:
            number = 2
            while (self.path.parent / f"{self.path.name}_{number}").exists():
                number += 1
            raise OutputError(
                f"{self.path}: a run is here already, and is not overwritten",
                hint=f"Go on with it: --resume auto. Or start another: --set experiment.name={self.path.name}_{number}",
            )

    def require_writable(self) -> None:
        """Raise if the folder cannot be made or written to; makes nothing.

        Raises:
            OutputError: It cannot.
        """
        place = self.path
        while not place.exists() and place != place.parent:
            place = place.parent
        if not place.is_dir():
            raise OutputError(f"{self.path}: cannot be made, since {place} is a file")
        if not os.access(place, os.W_OK | os.X_OK):
            raise OutputError(
                f"{self.path}: cannot be made or written, since {place} is not writable for you",
                hint="Choose another place: --set experiment.output_dir=FOLDER",
            )

    def create(self) -> None:
        """Make the folder and remove what an earlier crash may have left half-written.

        Raises:
            OutputError: It cannot be made.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            for leftover in self.path.glob(".*.pt.*"):
                leftover.unlink()
        except OSError as error:
            raise OutputError(
                f"{self.path}: cannot be made ({error.strerror or error})",
                hint="Choose another place: --set experiment.output_dir=FOLDER",
            ) from None

    def write_text(self, name: str, text: str) -> None:
        """Write a text file, whole or not at all."""
        write_atomically(self.path / name, lambda file: file.write(text.encode()))

    def write_config(self, config: RunConfig) -> None:
        """Write the resolved configuration."""
        self.write_text("config.yaml", dump_yaml(config))

    def write_manifest(self, facts: dict[str, Any]) -> None:
        """Write what is needed to understand and repeat the run."""
        self.write_text("manifest.json", json.dumps(facts, indent=2, default=str) + "\n")

    def write_history(self, records: Sequence[EpochRecord]) -> None:
        """Write the whole history."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        if records:
            writer.writerow(history_columns(records[0].val_dice_per_label))
            writer.writerows(_history_row(record) for record in records)
        self.write_text(HISTORY, text.getvalue())

    def read_history(self) -> list[EpochRecord]:
        """Read the history back; labels are called as their columns are.

        Raises:
            DataError: There is none, or it is damaged.
        """
        path = self.path / HISTORY
        try:
            records = _read_records(path)
        except (FileNotFoundError, NotADirectoryError):
            what = "is no run folder" if self.path.is_file() else "there is no such folder"
            raise DataError(
                f"{self.path}: {'has no history.csv' if self.path.is_dir() else what}",
                hint="Name a run folder, such as runs/quickstart; lunet train makes it.",
            ) from None
        except KeyError as error:
            raise DataError(f"{path}: is no history of a training (it has no column {error})") from None
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: is no history of a training ({error})") from None
        if not records:
            raise DataError(f"{path}: holds no epoch yet", hint="The first line comes with the first epoch.")
        return records

    def append_history(self, record: EpochRecord) -> None:
        """Add one epoch to the history."""
        path = self.path / HISTORY
        is_new = not path.exists() or path.stat().st_size == 0
        try:
            with path.open("a", newline="", encoding="utf-8") as file:
                writer = csv.writer(file, lineterminator="\n")
                if is_new:
                    writer.writerow(history_columns(record.val_dice_per_label))
                writer.writerow(_history_row(record))
        except OSError as error:
            raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from None

    def log(self, event: Event | str) -> None:
        """Add a line with the time to `train.log`."""
        now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
        path = self.path / "train.log"
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(f"{now} {visible(event)}\n")
        except OSError as error:
            raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from None


def names_of(runs: Sequence[Path]) -> list[str]:
    """What runs are called beside each other: their folders' names, or whole paths where those are not enough."""
    names = [visible(run.resolve().name) for run in runs]
    return names if len(set(names)) == len(names) else [visible(run) for run in runs]


def history_columns(labels: Sequence[str] | dict[str, float]) -> list[str]:
    """Columns of `history.csv` for labels of these names."""
    per_label = [_PER_LABEL + re.sub(r"\W+", "_", name) for name in labels]
    return ["epoch", "train_loss", "val_loss", "val_dice", *per_label, "learning_rate", "epoch_seconds"]


def _read_records(path: Path) -> list[EpochRecord]:
    with path.open(newline="", encoding="utf-8") as file:
        lines = [line for line in csv.reader(file) if line]
    if not lines:
        return []
    header, *rows = lines
    if not any(name.startswith(_PER_LABEL) for name in header):
        raise KeyError(f"{_PER_LABEL}LABEL")
    records = [_history_record(dict(zip(header, row, strict=True))) for row in rows[:-1]]
    with contextlib.suppress(ValueError):  # The last one may be half-written.
        records += [_history_record(dict(zip(header, row, strict=True))) for row in rows[-1:]]
    return records


def _history_record(row: dict[str, str]) -> EpochRecord:
    return EpochRecord(
        epoch=int(row["epoch"]),
        train_loss=float(row["train_loss"]),
        val_loss=float(row["val_loss"]),
        val_dice=float(row["val_dice"]),
        val_dice_per_label={
            name.removeprefix(_PER_LABEL): float(value) for name, value in row.items() if name.startswith(_PER_LABEL)
        },
        learning_rate=float(row["learning_rate"]),
        epoch_seconds=float(row["epoch_seconds"]),
    )


def _history_row(record: EpochRecord) -> list[float | int | str]:
    return [
        record.epoch,
        record.train_loss,
        record.val_loss,
        record.val_dice,
        *record.val_dice_per_label.values(),
        record.learning_rate,
        f"{record.epoch_seconds:.3f}",
    ]
