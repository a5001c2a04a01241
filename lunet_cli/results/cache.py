"""What lies in a cache of preprocessed cases."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What a kept case was made of.

    Args:
        case: Id of the case.
        files: Its files; none for a built-in volume.
        digest: SHA-256 of what they held.
        settings: Preprocessing, labels and precision, in words.
        version: The version of lunet that made it, and only that one uses it.
    """

    case: str
    files: tuple[str, ...]
    digest: str
    settings: str
    version: str


@dataclass(frozen=True, kw_only=True)
class CacheGroup:
    """The kept cases of one data set under one preprocessing.

    Args:
        place: Folder of the data set, or what else it is.
        settings: Preprocessing, labels and precision, in words.
        version: The version of lunet that made them.
        num_cases: How many there are.
        num_stale: Of them, those whose files are gone or have changed, or that this version does
            not use.
        num_bytes: Their size.
        newest: When the newest was made.
    """

    place: str
    settings: str
    version: str
    num_cases: int
    num_stale: int
    num_bytes: int
    newest: datetime.datetime


@dataclass(frozen=True, kw_only=True)
class CacheInfo:
    """A cache.

    Args:
        folder: Where it lies.
        groups: Kept cases by data set and preprocessing.
        num_unfinished: Folders that killed processes have left half written.
        unfinished_bytes: Their size.
    """

    folder: Path
    groups: tuple[CacheGroup, ...]
    num_unfinished: int
    unfinished_bytes: int

    @property
    def num_cases(self) -> int:
        """All kept cases."""
        return sum(group.num_cases for group in self.groups)

    @property
    def num_bytes(self) -> int:
        """Size of all of it."""
        return sum(group.num_bytes for group in self.groups) + self.unfinished_bytes
