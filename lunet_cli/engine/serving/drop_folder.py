"""The scans of a drop folder: which there are, and which have stopped growing."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lunet_cli.engine.data.disk import is_folder, list_folder
from lunet_cli.engine.data.volume import has_volume_suffix, stem
from lunet_cli.errors import LunetError

_CHANNEL = re.compile(r"(?P<id>.+)_(?P<channel>\d{4})")


@dataclass(frozen=True)
class Scan:
    """A scan of a drop folder.

    Args:
        name: What its record is called; no other scan of the folder is called so.
        paths: Its file or folder, or the files of its channels.
        content: Names, sizes and times of all of its files, as one word.
    """

    name: str
    paths: tuple[Path, ...]
    content: str


class DropFolder:
    """Looks at a folder again and again.

    Args:
        folder: Where scans come.
        num_channels: Image channels of the network; where it takes several, NAME_0000, NAME_0001,
            ... are one scan.
        settle_seconds: How long a scan has to stay as it is.
    """

    def __init__(self, folder: Path, *, num_channels: int, settle_seconds: float) -> None:
        self._folder, self._num_channels = folder, num_channels
        self._settle_seconds = settle_seconds
        self._seen: dict[str, tuple[str, float]] = {}

    def scans(self) -> Iterator[tuple[Scan, bool]]:
        """All scans, and whether they have stayed as they are for long enough.

        Raises:
            DataError: The folder cannot be listed.
        """
        now = time.monotonic()
        found = list(self._found())
        seen, self._seen = self._seen, {}
        for scan in found:
            content, since = seen.get(scan.name, (scan.content, now))
            if content != scan.content:
                since = now
            self._seen[scan.name] = (scan.content, since)
            yield scan, now - since >= self._settle_seconds

    def _found(self) -> Iterator[Scan]:
        groups: dict[str, list[Path]] = {}
        for path in list_folder(self._folder):
            if is_folder(path) or has_volume_suffix(path):
                groups.setdefault(self._name_of(path), []).append(path)
        for name, paths in groups.items():
            is_whole = len(paths) == self._num_channels or name == paths[0].name
            content = content_of(paths)
            if is_whole and content is not None:
                yield Scan(name, tuple(paths), content)

    def _name_of(self, path: Path) -> str:
        """The name of a file or folder, without the number of its channel."""
        match = _CHANNEL.fullmatch(stem(path))
        if self._num_channels == 1 or match is None or is_folder(path):
            return path.name
        return path.name.replace(stem(path), match["id"], 1)


def content_of(paths: list[Path]) -> str | None:
    """Names, sizes and times of files and of all that lies in folders; None if one is gone."""
    digest = hashlib.sha256()
    try:
        for path in paths:
            for file in _files(path):
                status = file.stat()
                facts = (str(file.relative_to(path.parent)), status.st_size, status.st_mtime_ns)
                digest.update(repr(facts).encode("utf-8", "surrogateescape"))
    except (OSError, LunetError):
        return None
    return digest.hexdigest()


def _files(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    for place, folders, names in os.walk(path):
        folders.sort()
        for name in sorted(names):
            yield Path(place, name)
