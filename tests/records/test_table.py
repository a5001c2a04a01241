"""Tables within bounds."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from lunet_cli.errors import DataError
from lunet_cli.records.table import Row, read_table, table_text


def test_a_table_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text(table_text(["case", "dice"], [["a, b", 0.5], ["c", "nan"]]))
    table = read_table(path)
    first, second = table.rows()
    assert table.header == ("case", "dice")
    assert not table.is_torn
    assert (first.text("case"), first.number("dice")) == ("a, b", 0.5)
    assert math.isnan(second.number("dice"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b,a\n1,2,3\n", "has the column 'a' twice"),
        ('a,b\n"' + "x" * 140_000, "line 2: is not a line of a table"),
        ("a,b\n1\n", "line 2: has 1 columns instead of 2"),
    ],
)
def test_what_is_not_a_table_is_told_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "table.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        list(read_table(path).rows())


@pytest.mark.parametrize("text", ["", " ", "-1", "1.5", "\u0663", "1" * 10, "0"])
def test_a_count_is_a_whole_number_from_its_lowest_on(text: str) -> None:
    with pytest.raises(DataError, match="not a whole number from 1 on"):
        Row("place", {"epoch": text}).count("epoch", lowest=1)
    assert Row("place", {"epoch": " 7 "}).count("epoch", lowest=1) == 7


def test_a_count_may_be_larger_where_its_column_says_so() -> None:
    row = Row("place", {"flops": "204214370304"})
    assert row.count("flops", lowest=1, highest=10**15) == 204_214_370_304
    with pytest.raises(DataError, match="not a whole number from 1 on"):
        row.count("flops", lowest=1, highest=204_214_370_303)


def test_a_number_stays_within_its_bounds() -> None:
    row = Row("place", {"dice": "1.5"})
    with pytest.raises(DataError, match=r"dice is '1\.5', outside of 0 to 1"):
        row.number("dice", lowest=0, highest=1)
    assert row.number("dice") == 1.5
