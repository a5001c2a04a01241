"""From a YAML file and `--set` overrides to a `RunConfig`, or to all mistakes at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from lunet_cli.config.run import RunConfig
from lunet_cli.errors import ConfigError

KeyPath = tuple[str | int, ...]


def load_config(path: Path | None, overrides: Iterable[str] = ()) -> RunConfig:
    """Read a configuration.

    Args:
        path: YAML file; None starts from the defaults.
        overrides: Strings `section.key=value`, the value written as in YAML; later ones win.

    Raises:
        ConfigError: The file or an override is wrong; the message lists every mistake with its place.
    """
    values: dict[str, Any] = {}
    lines: dict[KeyPath, int] = {}
    if path is not None:
        values, lines = _read_yaml(path)
    origins: dict[KeyPath, str] = {}
    for override in overrides:
        _apply_override(values, override, origins)
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        mistakes = [_describe(detail, path, lines, origins) for detail in _relevant(error.errors())]
        raise ConfigError(mistakes, hint="`lunet config schema` lists every key and its values.") from None


def dump_yaml(config: RunConfig) -> str:
    """The fully resolved configuration as YAML."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=120)


def _read_yaml(path: Path) -> tuple[dict[str, Any], dict[KeyPath, int]]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file", hint=_similar_files(path)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as text ({error})") from None
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise ConfigError(f"{where}: no valid YAML: {getattr(error, 'problem', None) or error}") from None
    if values is None:
        return {}, {}
    if not isinstance(values, dict):
        raise ConfigError(
            f"{path}: expected a mapping of sections, found {_type_name(values)}",
            hint="Start with lines such as `experiment:` and `model:`; `lunet config show` prints a complete example.",
        )
    lines: dict[KeyPath, int] = {}
    try:
        _collect_lines(node, (), lines, path)
    except RecursionError:
        raise ConfigError(f"{path}: an alias (*name) contains itself") from None
    return values, lines


def _similar_files(path: Path) -> str:
    folder = path.parent
    names = sorted(p.name for p in folder.glob("*.y*ml")) if folder.is_dir() else []
    close = get_close_matches(path.name, names, n=3)
    return f"Did you mean {', '.join(str(folder / name) for name in close)}?" if close else ""


def _collect_lines(node: yaml.Node | None, prefix: KeyPath, lines: dict[KeyPath, int], path: Path) -> None:
    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        key_path = (*prefix, str(key.value))
        line = key.start_mark.line + 1
        if key_path in lines:
            raise ConfigError(f"{path}:{line}: {_dotted(key_path)}: stands twice, first in line {lines[key_path]}")
        lines[key_path] = line
        _collect_lines(value, key_path, lines, path)


def _apply_override(values: dict[str, Any], override: str, origins: dict[KeyPath, str]) -> None:
    origin = f"--set {override}"
    dotted, separator, text = override.partition("=")
    keys = tuple(dotted.strip().split("."))
    if not separator or not all(keys):
        raise ConfigError(f"{origin}: expected section.key=value", hint="For instance --set training.epochs=20")
    if not text.strip():
        raise ConfigError(f"{origin}: the value is empty", hint="Write null for none.")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{origin}: the value is no valid YAML ({getattr(error, 'problem', error)})") from None
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
        fields = _fields_of(model)
        if fields is None:
            if isinstance(part, int) or model is dict:
                path.append(part)
            continue
        path.append(part)
        annotation = fields[part].annotation if part in fields else None
        model = dict if _mentions_mapping(annotation) else annotation
    return tuple(path)


def _fields_of(model: Any) -> dict[Any, Any] | None:
    is_model = isinstance(model, type) and issubclass(model, BaseModel)
    return dict(model.model_fields) if is_model else None


def _mentions_mapping(annotation: Any) -> bool:
    origin = get_origin(annotation)
    if origin is dict:
        return True
    if origin in (Annotated, Union, UnionType):
        return any(_mentions_mapping(part) for part in get_args(annotation))
    return False


def _describe(detail: ErrorDetails, path: Path | None, lines: dict[KeyPath, int], origins: dict[KeyPath, str]) -> str:
    place = _real_path(detail["loc"])
    where = _origin(place, path, lines, origins)
    label = f"{_dotted(place)}: " if place else ""
    if detail["type"] == "extra_forbidden":
        return f"{where}: {label}unknown key.{_nearest_key(place)}"
    message = detail["msg"].removeprefix("Value error, ")
    if detail["type"] in ("model_type", "dict_type"):
        message = "expected keys with values below it"
    message = message[0].lower() + message[1:]
    value = detail["input"]
    is_own_check = detail["type"] == "value_error"
    shown = "" if is_own_check or isinstance(value, dict) else f" (found {_shown(value)})"
    allowed = _allowed_values(place)
    if allowed and not is_own_check:
        return f"{where}: {label}expected {allowed}, found {_shown(value)}"
    return f"{where}: {label}{message}{shown}"


def _origin(place: KeyPath, path: Path | None, lines: dict[KeyPath, int], origins: dict[KeyPath, str]) -> str:
    """The override that set the value at `place`, else the file with the overrides inside of `place`."""
    above = [text for key, text in origins.items() if place[: len(key)] == key]
    if above:
        return above[-1]
    inside = [text for key, text in origins.items() if key[: len(place)] == place]
    line = next((f":{lines[place[:end]]}" for end in range(len(place), 0, -1) if place[:end] in lines), "")
    return " and ".join([f"{path}{line}", *inside] if path else inside) or "defaults"


def _section_at(place: KeyPath) -> type[BaseModel] | None:
    model: Any = RunConfig
    for part in place:
        fields = _fields_of(model)
        if fields is None or part not in fields:
            return None
        model = fields[part].annotation
    return model if _fields_of(model) is not None else None


def _nearest_key(place: KeyPath) -> str:
    section = _section_at(place[:-1])
    name = str(place[-1])
    known = list(section.model_fields) if section else []
    close = get_close_matches(name, known, n=1, cutoff=0.6)
    if close:
        return f" Did you mean '{close[0]}'?"
    elsewhere = next((path for path in _key_paths(RunConfig) if path[-1] == name), None)
    if elsewhere:
        return f" Did you mean '{_dotted(elsewhere)}'?"
    return f" Known here: {', '.join(known)}." if known else ""


def _key_paths(model: type[BaseModel]) -> Iterator[tuple[str, ...]]:
    """Every key below a section, its sub-sections included."""
    for name, field in model.model_fields.items():
        yield (name,)
        section: Any = field.annotation
        if _fields_of(section) is not None:
            yield from ((name, *path) for path in _key_paths(section))


def _allowed_values(place: KeyPath) -> str:
    """The words that a key accepts, where its values are words."""
    section = _section_at(place[:-1]) if place else None
    if section is None or place[-1] not in section.model_fields:
        return ""
    annotation = section.model_fields[str(place[-1])].annotation
    parts = [annotation, *get_args(annotation)]
    words = [str(word) for part in parts if get_origin(part) is Literal for word in get_args(part)]
    if words and bool in parts:
        words = ["true", "false", *words]
    return f"one of {', '.join(words)}" if words else ""


def _shown(value: object) -> str:
    """A value as it stands in YAML; a date, which YAML makes of 2024-01-01, as text."""
    return repr(value) if isinstance(value, str | int | float | list | None) else f"'{value}'"


def _dotted(place: KeyPath) -> str:
    return ".".join(str(part) for part in place)


def _type_name(value: object) -> str:
    names = {list: "a list", str: "plain text", int: "a number", float: "a number", bool: "true or false"}
    return names.get(type(value), type(value).__name__)
