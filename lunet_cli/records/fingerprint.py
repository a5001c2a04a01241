"""The fingerprint of a data set as a file."""

from __future__ import annotations

from typing import ClassVar

from lunet_cli.records.record import Record
from lunet_cli.results.fingerprint import CaseFacts


class Fingerprint(Record):
    """What `lunet data fingerprint` finds."""

    what: ClassVar[str] = "the fingerprint of a data set"
    written_by: ClassVar[str] = "`fingerprint(FOLDER)` makes it."

    format: str = "lunet fingerprint 1"
    layout: str
    labels: dict[str, tuple[int, ...]] | None
    ignored: int | None = None
    """Value of voxels that nobody has labelled; they count as background here."""
    channel_names: tuple[str, ...]
    cases: tuple[CaseFacts, ...]
    copies: tuple[tuple[str, str], ...]
    """Pairs of cases of which one has most planes of the other."""
