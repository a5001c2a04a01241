"""What a check of a data set found, as a file."""

from __future__ import annotations

from typing import ClassVar

from lunet_cli.records.record import Record
from lunet_cli.results.check import Change, Problem


class DataCheck(Record):
    """What `lunet data check` finds."""

    what: ClassVar[str] = "the check of a data set"
    written_by: ClassVar[str] = "`check_data(DATA)` makes it."

    format: str = "lunet check 1"
    place: str
    layout: str
    num_cases: int
    problems: tuple[Problem, ...]


class DataMending(Record):
    """What `lunet data check --fix` has changed, and what is left."""

    what: ClassVar[str] = "the record of a mended data set"
    written_by: ClassVar[str] = "`mend_data(FOLDER, OUT)` makes it."

    format: str = "lunet mending 1"
    source: str
    place: str
    changes: tuple[Change, ...]
    problems: tuple[Problem, ...]
