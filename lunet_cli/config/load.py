"""From a YAML file and `--set` overrides to a `RunConfig`, or to all mistakes at once."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from lunet_cli.config.document import Document, KeyPath, dotted, one_line, read_document, read_value
from lunet_cli.config.keys import allowed_values, fields_of, nearest_key
from lunet_cli.config.run import RunConfig
from lunet_cli.errors import ConfigError

_WORDS = {
    "model_type": "expected keys with values below it",
    "dict_type": "expected keys with values below it",
    "tuple_type": "expected a list in brackets, such as [64, 64, 64]",
    "list_type": "expected a list in brackets, such as [1, 2]",
    "string_pattern_mismatch": "expected a name of letters, digits and . _ + -, which starts with one of the first two",
}
_MOST_MISTAKES = 40  # As many as a screen has lines; the others are counted.


def load_config(path: Path | None, overrides: Iterable[str] = ()) -> RunConfig:
    """Read a configuration.

    Args:
        path: YAML file; None starts from the defaults.
        overrides: Strings `section.key=value`, the value written as in YAML; later ones win.

    Raises:
        ConfigError: The file or an override is wrong; the message lists every mistake with its
            place.

    Example:
        >>> config = lunet.load_config(None, ["data.root=images", "training.epochs=3"])
        >>> config.training.epochs
        3
    """
    document = Document({}, {}) if path is None else read_document(path)
    values = document.values
    origins: dict[KeyPath, str] = {}
    for override in overrides:
        _apply_override(values, override, origins)
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        details = _relevant(error.errors())
        mistakes = [
            _describe(detail, path, document.lines, origins) for detail in details[:_MOST_MISTAKES]
        ]
        if len(details) > _MOST_MISTAKES:
            mistakes.append(f"{path or '--set'}: and {len(details) - _MOST_MISTAKES} more mistakes")
        raise ConfigError(
            mistakes, hint="`lunet config schema` lists every key and its values."
        ) from None


def dump_yaml(config: RunConfig) -> str:
    """The fully resolved configuration as YAML."""
    return yaml.safe_dump(
        config.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=120
    )


def _apply_override(values: dict[str, Any], override: str, origins: dict[KeyPath, str]) -> None:
    origin = f"--set {one_line(override)}"
    dotted, separator, text = override.partition("=")
    keys = tuple(dotted.strip().split("."))
    if not separator or not all(keys):
        raise ConfigError(
            f"{origin}: expected section.key=value", hint="For instance --set training.epochs=20"
        )
    if not text.strip():
        raise ConfigError(f"{origin}: the value is empty", hint="Write null for none.")
    try:
        value = read_value(text)
    except ConfigError as error:
        raise ConfigError(f"{origin}: the value is not valid YAML ({error.message})") from None
    target = values
    for key in keys[:-1]:
        if not isinstance(target.get(key), dict):
            target[key] = {}
        target = target[key]
    target[keys[-1]] = value
    origins.pop(keys, None)  # the last one given comes last
    origins[keys] = origin


def _relevant(details: list[ErrorDetails]) -> list[ErrorDetails]:
    """Keep one mistake per place: a union reports each of its members."""
    kept: dict[tuple[KeyPath, str], ErrorDetails] = {}
    for detail in details:
        place = tuple(part for part in _real_path(detail["loc"]))
        kept.setdefault((place, "extra" if detail["type"] == "extra_forbidden" else ""), detail)
    return list(kept.values())


def _real_path(location: tuple[int | str, ...]) -> KeyPath:
    """Drop the parts that pydantic adds for members of a union."""
    path: list[str | int] = []
    model: Any = RunConfig
    for part in location:
        if part == "[key]":  # What is wrong is the key itself.
            continue
        fields = fields_of(model)
        if fields is None:
            if isinstance(part, int) or model is dict:
                path.append(part)
            continue
        path.append(part)
        annotation = fields[part].annotation if part in fields else None
        model = dict if _mentions_mapping(annotation) else annotation
    return tuple(path)


def _mentions_mapping(annotation: Any) -> bool:
    origin = get_origin(annotation)
    if origin is dict:
        return True
    if origin in (Annotated, Union, UnionType):
        return any(_mentions_mapping(part) for part in get_args(annotation))
    return False


def _describe(
    detail: ErrorDetails, path: Path | None, lines: dict[KeyPath, int], origins: dict[KeyPath, str]
) -> str:
    place = _real_path(detail["loc"])
    where = _origin(place, path, lines, origins)
    label = f"{dotted(place)}: " if place else ""
    if detail["type"] == "extra_forbidden":
        return f"{where}: {label}unknown key.{nearest_key(place)}"
    message = detail["msg"].removeprefix("Value error, ")
    message = _WORDS.get(detail["type"], message[0].lower() + message[1:])
    value = detail["input"]
    is_own_check = detail["type"] == "value_error"
    shown = "" if is_own_check or isinstance(value, dict) else f" (found {_shown(value)})"
    allowed = allowed_values(place)
    if allowed and not is_own_check and detail["type"] not in _WORDS:
        return f"{where}: {label}expected {allowed}, found {_shown(value)}"
    return f"{where}: {label}{message}{shown}"


def _origin(
    place: KeyPath, path: Path | None, lines: dict[KeyPath, int], origins: dict[KeyPath, str]
) -> str:
    """The override that set the value at `place`, else the file with the overrides inside of `place`."""
    above = [text for key, text in origins.items() if place[: len(key)] == key]
    if above:
        return above[-1]
    inside = [text for key, text in origins.items() if key[: len(place)] == place]
    line = next(
        (f":{lines[place[:end]]}" for end in range(len(place), 0, -1) if place[:end] in lines), ""
    )
    return " and ".join([f"{path}{line}", *inside] if path else inside) or "defaults"


def _shown(value: object) -> str:
    """A value as it stands in YAML, not more of it than fits into a line."""
    return one_line(
        repr(value) if isinstance(value, str | int | float | list | None) else f"'{value}'"
    )
