"""What our files of named values share: strict types, a version, one reader and writer."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import ClassVar, Self, TypeVar

from pydantic import BaseModel, ConfigDict, RootModel, ValidationError
from pydantic_core import ErrorDetails, from_json

from lunet_cli.errors import DataError, LunetError
from lunet_cli.records.files import read_bytes, write_atomically

Kind = TypeVar("Kind", bound="Record")
_MOST_SHOWN = 60
# Far more than any checkpoint of ours has.
_MOST_DEPTH = 60
_MOST_VALUES = 100_000
# No count of ours comes near, and larger ones overflow where arrays are made of them.
_MOST_INTEGER = 1 << 63


class Record(BaseModel):
    """Values of one of our files. Types are strict, numbers finite unless a field says otherwise.

    Keys that are not known are passed over, so that a file may say more than its reader needs.
    """

    # Strict: "3" is not 3, and true is not 1 (docs/adr/0019).
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", allow_inf_nan=False)

    what: ClassVar[str] = "a record of lunet"
    """What the file is, in words."""
    mark: ClassVar[str] = "format"
    """The key that holds the kind and version of the file."""
    written_by: ClassVar[str] = ""
    """How such a file comes about, as a hint."""
    is_always_marked: ClassVar[bool] = False
    """Whether there are no files without a mark; kinds that got theirs later have older ones."""

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file.

        Raises:
            DataError: It is missing, damaged, something else, or of a newer version.
        """
        return parse_record(cls, read_bytes(path, hint=cls.written_by), str(path))

    def write(self, path: Path) -> None:
        """Write a file, whole or not at all.

        Raises:
            OutputError: It cannot be written.
        """
        text = json_text(self)
        write_atomically(path, lambda file: file.write(text.encode()))


def parse_record(
    kind: type[Kind], text: bytes, place: str, *, error: type[LunetError] = DataError
) -> Kind:
    """Make a record of JSON text.

    Args:
        kind: The record.
        text: The JSON.
        place: Where it stands, for messages.
        error: The kind of error to raise.

    Raises:
        LunetError: Of the kind `error`, with the first thing that is wrong.
    """
    try:
        values = from_json(text, allow_inf_nan=True)
    except ValueError as reason:
        raise error(f"{place}: is not valid JSON ({reason})", hint=kind.written_by) from None
    if not isinstance(values, dict):
        raise error(f"{place}: is not {kind.what}, but {_shown(values)}", hint=kind.written_by)
    _require_version(kind, values, place, error)
    try:
        return kind.model_validate_json(text)
    except ValidationError as reason:
        raise error(
            f"{place}: is not {kind.what}: {first_mistake(reason)}", hint=kind.written_by
        ) from None


def parse_values(
    kind: type[Kind], values: Mapping[str, object], place: str, *, error: type[LunetError]
) -> Kind:
    """Make a record of the values of a file that is not JSON.

    They are written as JSON first: what was unpickled may hold lists that contain themselves, and
    one strictness is enough.

    Raises:
        LunetError: Of the kind `error`.
    """
    found = _Plain()
    try:
        text = json.dumps(found.copy(dict(values), (), 0))
    except _NotPlainError as reason:
        raise error(f"{place}: is not {kind.what}: {reason}", hint=kind.written_by) from None
    return parse_record(kind, text.encode(), place, error=error)


def is_marked_as(kind: type[Record], text: bytes) -> bool:
    """Whether JSON text says of itself that it is of a kind, in whatever version."""
    try:
        values = from_json(text)
    except ValueError:
        return False
    ours, _ = _split_mark(kind.model_fields[kind.mark].get_default())
    return isinstance(values, dict) and _split_mark(values.get(kind.mark))[0] == ours


def json_text(value: object) -> str:
    """JSON of records, dataclasses and plain values, with null for numbers that are not finite."""
    return json.dumps(_jsonable(value), indent=2, allow_nan=False) + "\n"


def compact_json(value: object) -> str:
    """The same in one line, for a place inside of another file."""
    return json.dumps(_jsonable(value), allow_nan=False)


def first_mistake(error: ValidationError) -> str:
    """The first thing that is wrong, in one line: where it stands, what was expected and found."""
    detail: ErrorDetails = error.errors(include_url=False, include_context=False)[0]
    where = ".".join(str(part) for part in detail["loc"])
    message = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "missing":
        return f"{_cut(where)} is missing"
    if detail["type"] != "value_error":
        message = f"{message[0].lower()}{message[1:]} (found {_shown(detail['input'])})"
    return f"{_cut(where)}: {message}" if where else message


def _require_version(
    kind: type[Record], values: Mapping[str, object], place: str, error: type[LunetError]
) -> None:
    """Raise if a file is of another kind or version.

    Without a mark, it may be older than marks are.
    """
    field = kind.model_fields.get(kind.mark)
    # A part of a file has no mark of its own.
    if field is None:
        return
    if kind.mark not in values and not kind.is_always_marked:
        return
    ours = field.get_default()
    theirs = values.get(kind.mark)
    if theirs == ours:
        return
    name, version = _split_mark(ours)
    their_name, their_version = _split_mark(theirs)
    if their_version is None or name != their_name:
        raise error(f"{place}: is not {kind.what}", hint=kind.written_by)
    if their_version != version:
        raise error(
            f"{place}: {kind.what} has format {their_version} there, this lunet reads format "
            f"{version}",
            hint="Use the version of lunet that wrote it.",
        )


def _split_mark(mark: object) -> tuple[str, int | None]:
    if isinstance(mark, int) and not isinstance(mark, bool):
        return "", mark
    if not isinstance(mark, str):
        return "", None
    name, _, number = mark.rpartition(" ")
    # int() refuses thousands of digits in words of its own.
    if not number.isdecimal() or len(number) > 9:
        return "", None
    return name, int(number)


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return "keys and values"
    if isinstance(value, list):
        return "a list"
    return _cut(repr(value))


def _cut(text: str) -> str:
    """Text of a foreign file, cut and without control characters."""
    shown = ""
    for character in text[:_MOST_SHOWN]:
        if not character.isprintable():
            character = "?"
        shown += character
    if len(text) > _MOST_SHOWN:
        shown += "..."
    return shown


class _NotPlainError(Exception):
    """A value is not one of JSON."""


class _Plain:
    """Copies plain values, at most so many.

    A list that holds one list ten times, which holds one ten times, and so on, is soon too large.
    """

    def __init__(self) -> None:
        self._num_values = 0

    def copy(self, value: object, where: tuple[str, ...], depth: int) -> object:
        self._num_values += 1
        if depth > _MOST_DEPTH or self._num_values > _MOST_VALUES:
            raise _not_plain(where, "holds too many values in each other")
        if isinstance(value, dict):
            return self._copy_mapping(value, where, depth)
        if isinstance(value, list | tuple):
            return self._copy_items(value, where, depth)
        if type(value) is int and abs(value) >= _MOST_INTEGER:
            raise _not_plain(where, "is a number of more than 64 bits")
        if value is None or type(value) in (bool, int, float, str):
            return value
        raise _not_plain(where, f"is a {type(value).__name__}, not a plain value")

    def _copy_items(
        self, values: Sequence[object], where: tuple[str, ...], depth: int
    ) -> list[object]:
        # Of tuples, only plain ones: torch.Size and the like are not values of JSON.
        if isinstance(values, tuple) and type(values) is not tuple:
            raise _not_plain(where, f"is a {type(values).__name__}, not a plain value")
        copied = []
        for index, item in enumerate(values):
            copied.append(self.copy(item, (*where, str(index)), depth + 1))
        return copied

    def _copy_mapping(
        self, values: dict[object, object], where: tuple[str, ...], depth: int
    ) -> dict[str, object]:
        copied = {}
        for key, item in values.items():
            if not isinstance(key, str):
                raise _not_plain(where, f"has the key {_shown(key)}, which is not text")
            copied[key] = self.copy(item, (*where, key), depth + 1)
        return copied


def _not_plain(where: tuple[str, ...], what: str) -> _NotPlainError:
    return _NotPlainError(f"{_cut('.'.join(where))}: {what}")


def _jsonable(value: object) -> object:
    if isinstance(value, RootModel):
        value = value.root
    if isinstance(value, list | tuple):
        return list(map(_jsonable, value))
    pairs = _pairs(value)
    if pairs is None:
        return _jsonable_scalar(value)
    return {_encodable(name): _jsonable(item) for name, item in pairs}


def _pairs(value: object) -> Iterable[tuple[str, object]] | None:
    """Names and values of what has some."""
    if isinstance(value, BaseModel):
        return value
    if isinstance(value, dict):
        return zip(map(str, value), value.values(), strict=True)
    if is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in fields(value)]
        return [(name, getattr(value, name)) for name in names]
    return None


def _jsonable_scalar(value: object) -> object:
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str | Path):
        return _encodable(str(value))
    if not isinstance(value, float):
        raise TypeError(f"a {type(value).__name__} is not a value of JSON")
    if math.isfinite(value):
        return value
    return None


def _encodable(text: str) -> str:
    """Text with escapes for the bytes of file names that are not UTF-8, which JSON cannot hold."""
    return text.encode("utf-8", "backslashreplace").decode()
