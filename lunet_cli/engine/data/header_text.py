"""What the text headers of NRRD and MetaImage share: numbers in words, and data files that are named."""

from __future__ import annotations

import math
import re
from pathlib import Path

from lunet_cli.engine.data.volume_file import damaged

LARGEST_HEADER = 2**18  # bytes; real ones have some hundred
_PATTERN = re.compile(r"[^%]*%0?\d{0,3}d[^%]*")
_MOST_FILES = 100_000


def whole_numbers(path: Path, field: str, text: str) -> tuple[int, ...]:
    """Whole numbers of a field.

    Raises:
        DataError: Something else stands there.
    """
    words = text.split()
    if not words or not all(re.fullmatch(r"[+-]?\d{1,18}", word) for word in words):
        raise damaged(path, f"'{field}' is '{_short(text)}', not whole numbers")
    return tuple(int(word) for word in words)


def one_whole_number(path: Path, field: str, text: str) -> int:
    """The whole number of a field.

    Raises:
        DataError: Something else stands there.
    """
    numbers = whole_numbers(path, field, text)
    if len(numbers) != 1:
        raise damaged(path, f"'{field}' is '{_short(text)}', not one whole number")
    return numbers[0]


def real_numbers(path: Path, field: str, text: str, count: int) -> list[float]:
    """Finite numbers of a field, between which spaces or commas stand.

    Raises:
        DataError: They are fewer, more, or not numbers.
    """
    try:
        numbers = [float(word) for word in re.split(r"[\s,]+", text.strip())]
    except ValueError:
        numbers = []
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise damaged(path, f"'{field}' is '{_short(text)}', not {count} numbers")
    return numbers


def data_files(path: Path, field: str, words: list[str], names: list[str]) -> list[Path]:
    """The files that hold the voxels: one, a pattern with first, last and step, or a list of names.

    Args:
        path: The header; names are relative to its folder.
        field: Name of the field, for messages.
        words: What stands in the field.
        names: The lines behind it.

    Raises:
        DataError: There is none, or the pattern is not one.
    """
    if words[:1] == ["LIST"]:
        found = [name.strip() for name in names if name.strip()]
    elif words and "%" in words[0]:
        found = _expand(path, field, words)
    else:
        found = [" ".join(words)] if words else []
    if not found or len(found) > _MOST_FILES:
        raise damaged(path, f"'{field}' names {len(found)} data files")
    return [path.parent / name for name in found]


def _expand(path: Path, field: str, words: list[str]) -> list[str]:
    numbers = words[1:]
    if not (
        _PATTERN.fullmatch(words[0]) and 2 <= len(numbers) <= 4 and all(map(str.isdecimal, numbers))
    ):
        raise damaged(
            path,
            f"'{field}' is '{_short(' '.join(words))}', not a pattern with first, last and step",
        )
    first, last = int(numbers[0]), int(numbers[1])
    step = int(numbers[2]) if len(numbers) > 2 else 1
    if step < 1 or not 0 <= last - first < _MOST_FILES * step:
        raise damaged(
            path,
            f"'{field}' is '{_short(' '.join(words))}', which names no sensible number of files",
        )
    return [words[0] % number for number in range(first, last + 1, step)]


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."
