"""From a YAML file and `--set` overrides to a `RunConfig`, or to all mistakes at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from lunet_cli.config.document import Document, read_document, read_value
from lunet_cli.config.keys import nearest_key
from lunet_cli.config.mistakes import Mistake, find_mistakes
from lunet_cli.config.names import KeyPath, dotted, one_line
from lunet_cli.config.run import RunConfig
from lunet_cli.config.shipped import find_config
from lunet_cli.errors import ConfigError

_MOST_MISTAKES = 40  # As many as a screen has lines; the others are counted.


def load_config(source: Path | str | None, overrides: Iterable[str] = ()) -> RunConfig:
    """Read a configuration.

    Args:
        source: YAML file, or the name of a shipped one such as `quickstart`; None starts from the
            defaults.
        overrides: Strings `section.key=value`, the value written as in YAML; later ones win.

    Raises:
        ConfigError: The file or an override is wrong; the message lists every mistake with its
            place.

    Example:
        >>> config = lunet.load_config(None, ["data.root=images", "training.epochs=3"])
        >>> config.training.epochs
        3
    """
    if source is None:
        path, document = None, Document({}, {})
    else:
        path = find_config(Path(source))
        document = read_document(path)
    return _validated(document.values, overrides, path, document.lines)


def with_settings(config: RunConfig, overrides: Iterable[str]) -> RunConfig:
    """The same configuration but for some keys.

    Args:
        config: The configuration.
        overrides: Strings `section.key=value`, as `load_config` takes them.

    Raises:
        ConfigError: An override is wrong, or does not fit the other keys.
    """
    return _validated(config.model_dump(mode="json"), overrides, None, {})


def with_values(
    config: RunConfig, values: Mapping[str, Any], *, origins: Mapping[str, str]
) -> RunConfig:
    """The same configuration but for some keys.

    Args:
        config: The configuration.
        values: The plain value of each key `section.key`.
        origins: Where each of them comes from, for messages.

    Raises:
        ConfigError: A key or value is wrong, or does not fit the others.
    """
    plain = config.model_dump(mode="json")
    told: dict[KeyPath, str] = {}
    for key, value in values.items():
        _put(plain, tuple(key.split(".")), value, origins[key], told)
    return _checked(plain, None, {}, told)


def _validated(
    values: dict[str, Any],
    overrides: Iterable[str],
    path: Path | None,
    lines: dict[KeyPath, int],
) -> RunConfig:
    """The configuration that plain values and overrides make."""
    origins: dict[KeyPath, str] = {}
    for override in overrides:
        _apply_override(values, override, origins)
    return _checked(values, path, lines, origins)


def _checked(
    values: dict[str, Any],
    path: Path | None,
    lines: dict[KeyPath, int],
    origins: dict[KeyPath, str],
) -> RunConfig:
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        mistakes = find_mistakes(error, RunConfig, _unknown)
    told = [_told(mistake, path, lines, origins) for mistake in mistakes[:_MOST_MISTAKES]]
    if len(mistakes) > _MOST_MISTAKES:
        told.append(f"{path or '--set'}: and {len(mistakes) - _MOST_MISTAKES} more mistakes")
    raise ConfigError(told, hint="`lunet config schema` lists every key and its values.")


def dump_yaml(config: RunConfig) -> str:
    """The fully resolved configuration as YAML."""
    return yaml.safe_dump(
        config.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=120
    )


def _apply_override(values: dict[str, Any], override: str, origins: dict[KeyPath, str]) -> None:
    origin = f"--set {one_line(override)}"
    name, separator, text = override.partition("=")
    keys = tuple(name.strip().split("."))
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
    _put(values, keys, value, origin, origins)


def _put(
    values: dict[str, Any],
    keys: tuple[str, ...],
    value: Any,
    origin: str,
    origins: dict[KeyPath, str],
) -> None:
    # What stands in the way of an override, such as a number where a section belongs, gives way.
    target = values
    for key in keys[:-1]:
        if not isinstance(target.get(key), dict):
            target[key] = {}
        target = target[key]
    target[keys[-1]] = value
    # Taken out first, so that the last one given stands last: it is the one that holds.
    origins.pop(keys, None)
    origins[keys] = origin


def _unknown(place: KeyPath) -> str:
    return f"unknown key. {nearest_key(place)}"


def _told(
    mistake: Mistake, path: Path | None, lines: dict[KeyPath, int], origins: dict[KeyPath, str]
) -> str:
    """A mistake with where it comes from and the key that it is about."""
    parts = [_origin(mistake.place, path, lines, origins), dotted(mistake.place), mistake.sentence]
    return ": ".join(filter(None, parts))


def _origin(
    place: KeyPath, path: Path | None, lines: dict[KeyPath, int], origins: dict[KeyPath, str]
) -> str:
    """The override that set the value at `place`, else the file with the overrides inside of it."""
    inside: list[str] = []
    above = ""
    for key, text in origins.items():
        if place[: len(key)] == key:
            above = text
        elif key[: len(place)] == place:
            inside.append(text)
    if above:
        return above
    if path is not None:
        inside.insert(0, f"{path}{_line(place, lines)}")
    return " and ".join(inside) or "defaults"


def _line(place: KeyPath, lines: dict[KeyPath, int]) -> str:
    """Where a key stands in its file, or else the next one above it that does: `:3`."""
    for end in range(len(place), 0, -1):
        if place[:end] in lines:
            return f":{lines[place[:end]]}"
    return ""
