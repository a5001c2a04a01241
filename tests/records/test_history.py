"""The history of a training as a table."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from lunet_cli.errors import DataError
from lunet_cli.records.history import history_columns, history_text, read_history
from lunet_cli.results.training import EpochRecord

RECORDS = [
    EpochRecord(i, 1 / 3, 2.5, 0.1 * i, {"a": 0.2 * i, "b_c": 0.0}, 0.01, 3.25) for i in (1, 2, 3)
]
HEADER = "epoch,train_loss,val_loss,val_dice,val_dice_a,learning_rate,epoch_seconds\n"


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_what_was_written_is_read_back_to_the_last_digit(tmp_path: Path) -> None:
    assert read_history(write(tmp_path / "history.csv", history_text(RECORDS))) == RECORDS
    assert history_text(RECORDS).splitlines()[1] == f"1,{1 / 3},2.5,0.1,0.2,0.0,0.01,3.250"
    assert history_text(RECORDS[:1]) + history_text(RECORDS[1:], with_header=False) == history_text(
        RECORDS
    )
    assert history_text([]) == ""


def test_labels_become_names_of_columns() -> None:
    assert history_columns(["left lung", "a/b"])[4:6] == ["val_dice_left_lung", "val_dice_a_b"]


def test_losses_and_dice_may_be_undefined(tmp_path: Path) -> None:
    (record,) = read_history(write(tmp_path / "history.csv", f"{HEADER}1,nan,inf,nan,nan,0.1,1\n"))
    assert all(math.isnan(value) for value in (record.train_loss, record.val_loss, record.val_dice))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("x,1,1,1,1,1,1", "line 2: epoch is 'x', not a whole number from 0 on"),
        (f"{'9' * 5000},1,1,1,1,1,1", "line 2: epoch is '9999"),
        ("1,x,1,1,1,1,1", "line 2: train_loss is 'x', which is not a number"),
        ("1,1,1,1e300,1,1,1", "line 2: val_dice is '1e300', outside of"),
        ("1,1,1,2,1,1,1", "line 2: val_dice is '2', outside of 0 to 1"),
        ("1,1,1,1,1,nan,1", "line 2: learning_rate is not a number"),
        ("1,1,1,1,1,-1,1", "line 2: learning_rate is '-1', outside of"),
        ("1,1,1,1,1,1,inf", "line 2: epoch_seconds is not a number"),
        ("1,1,1,1,1,1", "line 2: has 6 columns instead of 7"),
        ("1,1,1,1,1,1,1,1", "line 2: has 8 columns instead of 7"),
        (f"1,{'a' * 131_073},1,1,1,1,1", "line 2: is not a line of a table .field larger"),
        ("2,1,1,1,1,1,1\n2,1,1,1,1,1,1", "line 3: epoch 2 follows epoch 2"),
    ],
    ids=lambda text: text[:30],
)
def test_a_damaged_line_is_named(line: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_history(write(tmp_path / "history.csv", f"{HEADER}{line}\n"))
    assert len(caught.value.message) < 400


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no epoch yet"),
        (HEADER, "holds no epoch yet"),
        ("epoch,loss\n1,2\n", "is not the history of a training: it has no column train_loss"),
        (HEADER.replace("val_dice_a,", ""), "it has no column val_dice_LABEL"),
        (HEADER.replace("val_dice_a", "val_dice"), "has the column 'val_dice' twice"),
        (b"\xff\xfe", "is not UTF-8 text"),
        (HEADER + "1,1\0,1,1,1,1,1\n", "is not text"),
    ],
    ids=range(7),
)
def test_what_is_not_a_history(text: str | bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        read_history(write(tmp_path / "history.csv", text))


def test_labels_of_almost_one_name_and_losses_of_any_size_come_back(tmp_path: Path) -> None:
    dice = {"A+": 0.25, "A-": 0.5}
    record = EpochRecord(1, 2e38, math.nan, 0.375, dice, 0.01, 1.5)
    (found,) = read_history(write(tmp_path / "history.csv", history_text([record])))
    assert list(found.val_dice_per_label.values()) == [0.25, 0.5]
    assert found.train_loss == 2e38
