"""`study.csv` and `validation_cases.csv`: the networks of a study, and one of them case by case."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import astuple, fields
from pathlib import Path

from lunet_cli.errors import DataError
from lunet_cli.records.table import read_table, table_text
from lunet_cli.results.studies import StudyRow

_CASE_COLUMNS = ("epoch", "case", "dice")
_HINT = "Remove it; the study measures the network again."


def study_text(rows: Iterable[StudyRow]) -> str:
    """`study.csv`: a line per network, for other programs."""
    return table_text([field.name for field in fields(StudyRow)], map(astuple, rows))


def validation_cases_text(epoch: int, dice_per_case: Mapping[str, float]) -> str:
    """`validation_cases.csv`: a line per validation case.

    Args:
        epoch: The epoch whose network was measured.
        dice_per_case: Mean Dice over labels of each case.
    """
    rows = [(epoch, case, dice) for case, dice in dice_per_case.items()]
    return table_text(_CASE_COLUMNS, rows)


def read_validation_cases(path: Path) -> tuple[int, dict[str, float]]:
    """Read the epoch and the Dice of each case back.

    Raises:
        DataError: The table is missing or damaged, or holds no case.
    """
    table = read_table(path)
    table.require(_CASE_COLUMNS, what="a table of validation cases", hint=_HINT)
    epoch, dice = 0, {}
    for row in table.rows():
        epoch = row.count("epoch", lowest=1)
        value = row.number("dice", lowest=0, highest=1)
        if math.isnan(value):
            raise DataError(f"{row.place}: dice is not a number", hint=_HINT)
        dice[row.text("case")] = value
    if not dice:
        raise DataError(f"{path}: holds no case", hint=_HINT)
    return epoch, dice
