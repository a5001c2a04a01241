"""`history.csv`: one line per epoch of a training."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from lunet_cli.errors import DataError
from lunet_cli.records.table import Row, read_table, table_text
from lunet_cli.results.training import EpochRecord

_WHAT = "the history of a training"
_HINT = "`train(CONFIG)` writes it."
_PER_LABEL = "val_dice_"


def history_columns(labels: Iterable[str]) -> list[str]:
    """Columns for labels of these names."""
    per_label: list[str] = []
    for index, name in enumerate(labels, start=1):
        column = _PER_LABEL + re.sub(r"\W+", "_", name)
        # `A+` and `A-` are two labels, and a table has no column twice.
        per_label.append(f"{column}_{index}" if column in per_label else column)
    return [
        "epoch",
        "train_loss",
        "val_loss",
        "val_dice",
        *per_label,
        "learning_rate",
        "epoch_seconds",
    ]


def history_text(records: Sequence[EpochRecord], *, with_header: bool = True) -> str:
    """The lines of these epochs; without any epoch, nothing."""
    if not records:
        return ""
    text = table_text(history_columns(records[0].val_dice_per_label), map(_values, records))
    if with_header:
        return text
    return text.partition("\n")[2]


def history_values(record: EpochRecord) -> dict[str, float]:
    """What an epoch has brought, by column; without the columns of a validation where none was."""
    columns = history_columns(record.val_dice_per_label)
    named = dict(zip(columns, map(float, _values(record)), strict=True))
    kept = ["train_loss", "learning_rate"]
    if record.is_validated:
        kept = [name for name in columns if name not in ("epoch", "epoch_seconds")]
    return {name: named[name] for name in kept}


def read_history(path: Path) -> list[EpochRecord]:
    """Read the history back; labels are called as their columns are.

    A last line that is being written is left out.

    Raises:
        DataError: It is missing, damaged, or holds no epoch yet.
    """
    table = read_table(path)
    if table.header:
        table.require(history_columns([]), what=_WHAT, hint=_HINT)
        if not any(name.startswith(_PER_LABEL) for name in table.header):
            table.require([f"{_PER_LABEL}LABEL"], what=_WHAT, hint=_HINT)
    records: list[EpochRecord] = []
    epoch = 0
    try:
        for row in table.rows():
            record = _record(row, epoch)
            records.append(record)
            epoch = record.epoch
    except DataError as error:
        # `viz curves --watch` reads while another program may be writing.
        is_last = len(records) == len(table.lines) - 1
        if not (table.is_torn and is_last):
            raise DataError(error.message, hint=_HINT) from None
    if not records:
        raise DataError(
            f"{path}: holds no epoch yet", hint="The first line comes with the first epoch."
        )
    return records


def _record(row: Row, epoch_before: int) -> EpochRecord:
    epoch = row.count("epoch", lowest=0)
    if epoch <= epoch_before and epoch_before:
        raise DataError(f"{row.place}: epoch {epoch} follows epoch {epoch_before}")
    return EpochRecord(
        epoch=epoch,
        train_loss=row.number("train_loss", lowest=-math.inf, highest=math.inf),
        val_loss=row.number("val_loss", lowest=-math.inf, highest=math.inf),
        val_dice=row.number("val_dice", lowest=0, highest=1),
        val_dice_per_label=_dice_per_label(row),
        learning_rate=_defined(row, "learning_rate"),
        epoch_seconds=_defined(row, "epoch_seconds"),
    )


def _dice_per_label(row: Row) -> dict[str, float]:
    dice = {}
    for column in row.values:
        if column.startswith(_PER_LABEL):
            dice[column.removeprefix(_PER_LABEL)] = row.number(column, lowest=0, highest=1)
    return dice


def _defined(row: Row, column: str) -> float:
    value = row.number(column, lowest=0)
    if math.isnan(value):
        raise DataError(f"{row.place}: {column} is not a number")
    return value


def _values(record: EpochRecord) -> list[float | int | str]:
    return [
        record.epoch,
        record.train_loss,
        record.val_loss,
        record.val_dice,
        *record.val_dice_per_label.values(),
        record.learning_rate,
        # Milliseconds, since nobody compares epochs more closely; all else comes back bit by bit.
        f"{record.epoch_seconds:.3f}",
    ]
