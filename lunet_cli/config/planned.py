"""A planned configuration: each value with its reason, and the YAML text that tells both."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable
from typing import Any, NamedTuple

from lunet_cli.config.run import RunConfig

_WIDTH = 100
# A mapping or a value on a line of its own, as JSON writes it, is YAML too.
_INDENT = "  "


class Setting(NamedTuple):
    """One key of a plan.

    Args:
        key: The key, such as `training.epochs`.
        value: Its value, plain.
        why: Why it is so, in a sentence; empty where the value speaks for itself.
    """

    key: str
    value: Any
    why: str = ""


def planned_config(settings: Iterable[Setting]) -> RunConfig:
    """The configuration that the settings make; of two of one key, the later one holds."""
    return RunConfig.model_validate(_nested(settings))


def planned_yaml(settings: Iterable[Setting], heading: str) -> str:
    """The settings as a commented YAML file.

    Args:
        settings: What is set; of two of one key, the later one holds.
        heading: Sentences at the top.
    """
    latest = {setting.key: setting for setting in settings}
    # Sections and groups together, in the order in which they first occur.
    lines = _comment(heading, "")
    _write(lines, _nested(latest.values()), latest, ())
    return "\n".join(lines) + "\n"


def _nested(settings: Iterable[Setting]) -> dict[str, object]:
    values: dict[str, object] = {}
    for setting in settings:
        *sections, name = setting.key.split(".")
        target: Any = values
        for section in sections:
            target = target.setdefault(section, {})
        target[name] = setting.value
    return values


def _write(
    lines: list[str], values: dict[str, object], known: dict[str, Setting], above: tuple[str, ...]
) -> None:
    indent = _INDENT * len(above)
    for name, value in values.items():
        place = (*above, name)
        setting = known.get(".".join(place))
        if setting is None:
            lines.append(f"{indent}{name}:")
            if isinstance(value, dict):
                _write(lines, value, known, place)
            continue
        if setting.why:
            lines += _comment(setting.why, indent)
        lines.append(f"{indent}{name}: {json.dumps(value, ensure_ascii=False)}")


def _comment(text: str, indent: str) -> list[str]:
    start = f"{indent}# "
    return textwrap.wrap(text, _WIDTH, initial_indent=start, subsequent_indent=start)
