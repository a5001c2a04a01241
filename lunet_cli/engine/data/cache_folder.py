"""The jobs `cache_info` and `clear_cache`: what a cache holds, and making room."""

from __future__ import annotations

import contextlib
import datetime
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lunet_cli import __version__
from lunet_cli.engine.data.cache_entry import abandoned, read_facts, read_origin, remove_folder
from lunet_cli.engine.data.cases import Case
from lunet_cli.engine.data.content import CONTENTS, content_of
from lunet_cli.errors import DataError, LunetError, OutputError
from lunet_cli.results.cache import CacheGroup, CacheInfo, Origin

_HINT = "Name the folder that data.cache_dir says, or an output_dir with a folder .cache in it."
_DAY_S = 24 * 3600.0


def cache_info(folder: Path | str) -> CacheInfo:
    """Describe a cache of preprocessed cases.

    Args:
        folder: The cache, or a folder that holds it as `.cache`.

    Raises:
        DataError: There is none.
    """
    cache = _find(Path(folder))
    return _described(cache, list(_entries(cache)), abandoned(cache))


def clear_cache(
    folder: Path | str, *, only_stale: bool = False, older_than_days: float = 0.0
) -> CacheInfo:
    """Remove kept cases. A run that reads them prepares them anew; what it is writing stays.

    Args:
        folder: The cache, or a folder that holds it as `.cache`.
        only_stale: Keep what the files and this version of lunet could still use.
        older_than_days: Keep what was made within so many days.

    Returns:
        What was removed.

    Raises:
        DataError: There is no cache.
        OutputError: A folder cannot be removed.
    """
    cache = _find(Path(folder))
    latest = datetime.datetime.now().astimezone() - datetime.timedelta(days=older_than_days)
    chosen = [entry for entry in _entries(cache) if entry.made <= latest]
    if only_stale:
        chosen = [entry for entry in chosen if entry.is_stale]
    parts = abandoned(cache, older_than_days * _DAY_S)
    removed = _described(cache, chosen, parts)
    try:
        for path in (*(entry.path for entry in chosen), *parts):
            remove_folder(path)
    except OSError as error:
        raise OutputError(f"{error.filename}: cannot be removed ({error.strerror})") from None
    if not any(_entries(cache)):
        shutil.rmtree(cache / CONTENTS, ignore_errors=True)
    return removed


@dataclass(frozen=True)
class _Entry:
    path: Path
    origin: Origin
    num_bytes: int
    made: datetime.datetime
    is_stale: bool


def _find(folder: Path) -> Path:
    for place in (folder, folder / ".cache"):
        if (place / CONTENTS).is_dir() or any(_entries(place)) or abandoned(place):
            return place
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder", hint=_HINT)
    return folder / ".cache"  # Which a run would make.


def _entries(cache: Path) -> Iterator[_Entry]:
    """The entries that are whole; anything else in the folder is not ours to touch."""
    for path in sorted(cache.glob("[0-9a-f]*/")):
        origin = read_origin(path)
        if origin is None or read_facts(path) is None:
            continue
        is_stale = _is_stale(origin, cache)
        with contextlib.suppress(FileNotFoundError):  # It has been cleared meanwhile.
            yield _Entry(path, origin, _size(path), _made(path), is_stale)


def _is_stale(origin: Origin, cache: Path) -> bool:
    if origin.version != __version__:
        return True
    if not origin.files:
        return False
    *images, label = map(Path, origin.files)
    try:
        current = content_of(Case(origin.case, tuple(images), label), cache / CONTENTS)
    except LunetError:  # Gone, or it cannot be read.
        return True
    return current.digest != origin.digest


def _size(folder: Path) -> int:
    total = 0
    with contextlib.suppress(FileNotFoundError):  # Cleared by another process in this moment.
        for path in folder.iterdir():
            total += path.stat().st_size
    return total


def _made(path: Path) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(path.stat().st_mtime).astimezone()


def _described(cache: Path, entries: list[_Entry], parts: list[Path]) -> CacheInfo:
    groups: dict[tuple[str, str, str], list[_Entry]] = {}
    for entry in entries:
        key = (_place_of(entry.origin), entry.origin.settings, entry.origin.version)
        groups.setdefault(key, []).append(entry)
    described = []
    for (place, settings, version), members in sorted(groups.items()):
        group = CacheGroup(
            place=place,
            settings=settings,
            version=version,
            num_cases=len(members),
            num_stale=sum(entry.is_stale for entry in members),
            num_bytes=sum(entry.num_bytes for entry in members),
            newest=max(entry.made for entry in members),
        )
        described.append(group)
    return CacheInfo(
        folder=cache,
        groups=tuple(described),
        num_unfinished=len(parts),
        unfinished_bytes=sum(map(_size, parts)),
    )


def _place_of(origin: Origin) -> str:
    """The folder of a data set: that of its label maps, or above a folder of them alone."""
    if not origin.files:
        return "built-in volumes"
    label, image = Path(origin.files[-1]), Path(origin.files[0])
    if label.parent == image.parent:
        return str(label.parent)
    return str(label.parent.parent)
