"""What pydantic finds wrong with values, as sentences: what was expected, and what was found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from lunet_cli.config.names import KeyPath, one_line

# By pydantic's kinds of mistake (https://docs.pydantic.dev/latest/errors/validation_errors/); its
# own sentences ("Input should be a valid integer, unable to parse string as an integer") are for
# programmers.
_EXPECTED = {
    "model_type": "keys with values below it",
    "dict_type": "keys with values below it",
    "tuple_type": "a list in brackets, such as [64, 64, 64]",
    "list_type": "a list in brackets, such as [1, 2]",
    "string_pattern_mismatch": (
        "a name of letters, digits and . _ + -, which starts with one of the first two"
    ),
    "string_type": "text",
    "string_too_short": "a text of at least {min_length} characters",
    "string_too_long": "a text of at most {max_length} characters",
    "too_short": "at least {min_length} values",
    "too_long": "at most {max_length} values",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "path_type": "a path",
    "literal_error": "one of {expected}",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
}
# Here the kind of value is wrong: to list the words that a key accepts would not help.
_OTHER_KINDS = {"model_type", "dict_type", "tuple_type", "list_type"}


class Mistake(NamedTuple):
    """One thing that is wrong.

    Args:
        place: The key or field, and what is below it.
        sentence: What was expected, and what was found.
    """

    place: KeyPath
    sentence: str


def find_mistakes(
    error: ValidationError, model: type[BaseModel], unknown: Callable[[KeyPath], str]
) -> list[Mistake]:
    """Everything that is wrong, once for each place: a union reports each of its members.

    Args:
        error: What pydantic found.
        model: What the values were meant for.
        unknown: What to say of a name that the model does not have.
    """
    mistakes: list[Mistake] = []
    told: set[KeyPath] = set()
    for detail in error.errors():
        place = _place(detail["loc"], model)
        if detail["type"] == "extra_forbidden":
            mistakes.append(Mistake(place, unknown(place)))
        elif place not in told:
            mistakes.append(Mistake(place, _sentence(detail, allowed_words(model, place))))
            # What another member of the union says of the whole value adds nothing to this.
            told.update(place[:end] for end in range(1, len(place) + 1))
    return mistakes


def section_at(model: Any, place: KeyPath) -> type[BaseModel] | None:
    """The section that a path leads to; None where it is not a section."""
    for part in place:
        fields = fields_of(model)
        if part not in fields:
            return None
        model = fields[part].annotation
    return model if fields_of(model) else None


def fields_of(model: Any) -> Mapping[Any, FieldInfo]:
    """The fields of a section; none of anything else."""
    if isinstance(model, type) and issubclass(model, BaseModel):
        return model.model_fields
    return {}


def allowed_words(model: type[BaseModel], place: KeyPath) -> list[str]:
    """The words that a key accepts, where its values are words."""
    fields = fields_of(section_at(model, place[:-1]))
    if not place or place[-1] not in fields:
        return []
    annotation = fields[place[-1]].annotation
    members = [annotation, *get_args(annotation)]
    words: list[str] = []
    for member in members:
        if get_origin(member) is Literal:
            words += map(str, get_args(member))
    if words and bool in members:
        return ["true", "false", *words]
    return words


def _sentence(detail: ErrorDetails, allowed: list[str]) -> str:
    kind, message = detail["type"], detail["msg"]
    if kind == "value_error":  # Raised by a check of ours, which has its own words.
        message = message.removeprefix("Value error, ")
        return f"{message[:1].lower()}{message[1:]}"
    if kind == "missing":
        return "is missing"
    found = _shown(detail["input"])
    if allowed and kind not in _OTHER_KINDS:
        return f"expected one of {', '.join(allowed)}, found {found}"
    if kind not in _EXPECTED:
        return f"{message[:1].lower()}{message[1:]} (found {found})"
    expected = _EXPECTED[kind].format_map(detail.get("ctx", {}))
    if kind == "literal_error":
        expected = expected.replace("'", "").replace(" or ", ", ")
    return f"expected {expected}, found {found}"


def _shown(value: object) -> str:
    """A value as it stands in YAML, not more of it than fits into a line."""
    if isinstance(value, dict):
        return "keys with values"
    if isinstance(value, str | int | float | list | tuple | None):
        return one_line(repr(value))
    return one_line(f"'{value}'")


def _place(location: tuple[int | str, ...], model: Any) -> KeyPath:
    """Where a mistake is, without the parts that pydantic adds for members of a union."""
    path: list[str | int] = []
    for part in location:
        if part == "[key]":  # What is wrong is the key itself.
            continue
        fields = fields_of(model)
        if not fields:
            if isinstance(part, int) or model is dict:
                path.append(part)
            continue
        path.append(part)
        annotation = fields[part].annotation if part in fields else None
        model = dict if _mentions_mapping(annotation) else annotation
    return tuple(path)


def _mentions_mapping(annotation: Any) -> bool:
    origin = get_origin(annotation)
    if origin in (Annotated, Union, UnionType):
        return any(map(_mentions_mapping, get_args(annotation)))
    return origin is dict
