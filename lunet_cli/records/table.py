"""Our tables: comma-separated text, read within bounds and with every value in its column."""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lunet_cli.errors import DataError
from lunet_cli.records.files import read_text

_MOST_SHOWN = 40
# No loss, millilitre or second of ours comes near; differences of larger ones leave the range of
# numbers.
_LARGEST = 1e30
_MOST_COUNTED = 999_999_999


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Args:
        place: File and line, for messages.
        values: The text in each column.
    """

    place: str
    values: dict[str, str]

    def text(self, column: str) -> str:
        """The text in a column, which is not empty.

        Raises:
            DataError: It is.
        """
        value = self.values[column]
        if not value.strip():
            raise DataError(f"{self.place}: {column} is empty")
        return value

    def number(self, column: str, *, lowest: float = -_LARGEST, highest: float = _LARGEST) -> float:
        """The number in a column; NaN where it is undefined or without bound.

        Raises:
            DataError: It is not a number, or outside of the bounds.
        """
        text = self.values[column]
        try:
            value = float(text)
        except ValueError:
            raise DataError(
                f"{self.place}: {column} is {_shown(text)}, which is not a number"
            ) from None
        if not math.isfinite(value):
            return math.nan
        if not lowest <= value <= highest:
            raise DataError(
                f"{self.place}: {column} is {_shown(text)}, outside of {lowest:g} to {highest:g}"
            )
        return value

    def count(self, column: str, *, lowest: int, highest: int = _MOST_COUNTED) -> int:
        """The whole number in a column.

        Raises:
            DataError: It is not one, or outside of the bounds.
        """
        text = self.values[column].strip()
        # int() refuses thousands of digits in words of its own.
        is_readable = text.isascii() and text.isdecimal() and len(text) <= len(str(highest))
        if not is_readable or not lowest <= int(text) <= highest:
            raise DataError(
                f"{self.place}: {column} is {_shown(text)}, not a whole number from {lowest} on"
            )
        return int(text)


@dataclass(frozen=True)
class Table:
    """A table whose lines have not been looked at yet.

    Args:
        path: Its file.
        header: Names of the columns, each once.
        lines: Number and fields of each line below.
        is_torn: Whether the last line lacks its end, as while it is being written.
    """

    path: Path
    header: tuple[str, ...]
    lines: tuple[tuple[int, tuple[str, ...]], ...]
    is_torn: bool

    def rows(self) -> Iterator[Row]:
        """The lines with a value in every column.

        Raises:
            DataError: A line has more or fewer.
        """
        for number, fields in self.lines:
            place = f"{self.path}: line {number}"
            if len(fields) != len(self.header):
                raise DataError(f"{place}: has {len(fields)} columns instead of {len(self.header)}")
            yield Row(place, dict(zip(self.header, fields, strict=True)))

    def require(self, columns: Sequence[str], *, what: str, hint: str) -> None:
        """Raise if a column is not there.

        Raises:
            DataError: It names the column.
        """
        for column in columns:
            if column not in self.header:
                lack = f"it has no column {column}"
                raise DataError(f"{self.path}: is not {what}: {lack}", hint=hint)


def read_table(path: Path) -> Table:
    """Read a table.

    Raises:
        DataError: The file is missing or is not a table.
    """
    text = read_text(path)
    reader = csv.reader(io.StringIO(text, newline=""))
    lines = []
    try:
        for fields in reader:
            if fields:
                lines.append((reader.line_num, tuple(fields)))
    except csv.Error as reason:
        # For instance a field of 131,072 characters, where a quotation mark is left open.
        raise DataError(
            f"{path}: line {reader.line_num}: is not a line of a table ({reason})"
        ) from None
    header: tuple[str, ...] = ()
    if lines:
        header = lines[0][1]
    for name, number in Counter(header).items():
        if number > 1:
            raise DataError(f"{path}: has the column {_shown(name)} twice")
    return Table(path, header, tuple(lines[1:]), is_torn=not text.endswith("\n"))


def table_text(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table as text."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def _shown(text: str) -> str:
    if len(text) > _MOST_SHOWN:
        text = f"{text[:_MOST_SHOWN]}..."
    return repr(text)
