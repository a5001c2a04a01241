"""What the text headers of NRRD and MetaImage share: numbers in words, and names of data files."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path

from lunet_cli.engine.data.volume_file import damaged
from lunet_cli.errors import DataError
from lunet_cli.results.words import plural

LARGEST_HEADER = 2**18  # bytes; real ones have some hundred
_WHOLE_NUMBER = re.compile(r"[+-]?\d{1,18}")  # Longer ones do not fit into 64 bits.
# One number to be filled in, and no other placeholder: names come from strangers.
_PATTERN = re.compile(r"[^%]*%0?\d{0,3}d[^%]*")
# A file for each slice of any scan; names alone of many more would take memory and time.
_MOST_FILES = 100_000
_refuses_other_files = ContextVar("_refuses_other_files", default=False)


def whole_numbers(path: Path, field: str, text: str) -> tuple[int, ...]:
    """Whole numbers of a field.

    Raises:
        DataError: Something else stands there.
    """
    words = text.split()
    if not words or not all(map(_WHOLE_NUMBER.fullmatch, words)):
        raise damaged(path, f"'{field}' is '{_short(text)}', not whole numbers")
    return tuple(map(int, words))


def one_whole_number(path: Path, field: str, text: str) -> int:
    """The whole number of a field.

    Raises:
        DataError: Something else stands there.
    """
    numbers = whole_numbers(path, field, text)
    if len(numbers) != 1:
        raise damaged(path, f"'{field}' is '{_short(text)}', not one whole number")
    return numbers[0]


def real_numbers(path: Path, field: str, text: str, *, count: int) -> list[float]:
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


def data_files(
    path: Path, field: str, text: str, *, names: list[str], sizes: tuple[int, ...]
) -> list[Path]:
    """The files that hold the voxels in equal parts.

    Args:
        path: The header; names are relative to its folder.
        field: Name of the field, for messages.
        text: What stands there: a name; a pattern with first, last and step; or `LIST`. Behind the
            two latter may stand how many axes lie within a file, which are else all but the last.
        names: The lines behind the field, for `LIST`.
        sizes: Voxels along each axis.

    Raises:
        DataError: They are not as many as the sizes ask for, or the field is damaged; or other
            files are refused.
    """
    _require_allowed(path)
    words = text.split()
    if words[:1] == ["LIST"]:
        found, extra = [name.strip() for name in names if name.strip()], words[1:]
    elif words and "%" in words[0]:
        found, extra = _expand(path, field, words), words[4:]
    else:
        return [path.parent / text]
    num_axes = len(sizes) - 1
    if extra:
        num_axes = one_whole_number(path, field, " ".join(extra))
    if not 1 <= num_axes < len(sizes):
        raise damaged(path, f"'{field}' is '{_short(text)}' for {len(sizes)} axes")
    expected = math.prod(sizes[num_axes:])
    if len(found) != expected:
        counted = plural(len(found), "data file")
        raise damaged(path, f"'{field}' names {counted}, and its sizes ask for {expected}")
    return [path.parent / name for name in found]


def _require_allowed(path: Path) -> None:
    if _refuses_other_files.get():
        raise DataError(
            f"{path}: its voxels lie in another file",
            hint="Write header and voxels into one file, such as .nrrd or .mha.",
        )


@contextlib.contextmanager
def refusing_other_files() -> Iterator[None]:
    """Within the block, a header that names other files is refused: it may name any of them."""
    token = _refuses_other_files.set(True)
    try:
        yield
    finally:
        _refuses_other_files.reset(token)


def _expand(path: Path, field: str, words: list[str]) -> list[str]:
    """The names that a pattern stands for, such as `slice%03d.raw 1 20 1`."""
    pattern, *numbers = words
    is_pattern = _PATTERN.fullmatch(pattern) and all(map(str.isdecimal, numbers))
    if not is_pattern or not 2 <= len(numbers) <= 4:
        reason = "not a pattern with first, last and step"
        raise damaged(path, f"'{field}' is '{_short(' '.join(words))}', {reason}")
    first, last, step, *_ = (*map(int, numbers), 1)
    if step < 1 or not 0 <= last - first < _MOST_FILES * step:
        reason = "which names no sensible number of files"
        raise damaged(path, f"'{field}' is '{_short(' '.join(words))}', {reason}")
    return [pattern % number for number in range(first, last + 1, step)]


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."
