"""Trials that go on with what they were begun with, and all of a study on the same cases."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from lunet_cli.config.load import dump_yaml, load_config, with_settings
from lunet_cli.config.run import RunConfig
from lunet_cli.engine.run_folder import RunFolder
from lunet_cli.errors import ConfigError, LunetError
from lunet_cli.results.words import plural

# What a trial may have had otherwise when it was begun: its place, what only changes how fast it
# is, and what is measured and drawn once it has ended.
_DOES_NOT_COUNT = (
    "experiment.name",
    "experiment.output_dir",
    "data.num_workers",
    "training.num_threads",
    "study.",
    "evaluation.",
    "benchmark.",
    "visualization.",
    "wandb.",
    "tensorboard.",
    "mlflow.",
)
# The first few tell what is wrong.
_MOST_SHOWN = 4


class Asked(NamedTuple):
    """What a trial is asked to do.

    Args:
        folder: Its files, if there are any.
        config: What it is asked for.
        ignored: Beginnings of further keys that may have been otherwise.
    """

    folder: RunFolder
    config: RunConfig
    ignored: tuple[str, ...] = ()


def with_one_division(config: RunConfig) -> RunConfig:
    """The configuration, all seeds of which are measured on the same cases."""
    if config.data.train_dir is not None or config.data.split.seed is not None:
        return config
    return with_settings(config, [f"data.split.seed={config.experiment.seed}"])


def require_as_begun(trials: Iterable[Asked]) -> None:
    """Raise if a trial was begun with another configuration.

    Raises:
        ConfigError: With a line for each.
    """
    mistakes: list[str] = []
    for asked in trials:
        if not asked.folder.config.exists() or _is_equal(asked):
            continue
        try:
            recorded = load_config(asked.folder.config)
        except LunetError as error:
            mistakes += error.lines
            continue
        found = _differences(recorded, asked)
        if found:
            mistakes.append(f"{asked.folder.path}: was begun with {_listed(found)}")
    if mistakes:
        raise ConfigError(
            mistakes,
            hint="Ask for the same, or choose another `experiment.name` for this study.",
        )


def _is_equal(asked: Asked) -> bool:
    """Whether the very same text is there, which is read far faster than YAML."""
    try:
        return asked.folder.read_config_text() == dump_yaml(asked.config)
    except LunetError:
        return False


def _differences(recorded: RunConfig, asked: Asked) -> list[str]:
    """What was recorded otherwise than a trial is asked for, a phrase for each key."""
    before, now = _flat(recorded.model_dump()), _flat(asked.config.model_dump())
    ignored = (*_DOES_NOT_COUNT, *asked.ignored)
    found: list[str] = []
    for key in sorted(before.keys() | now.keys()):
        if not key.startswith(ignored) and before.get(key) != now.get(key):
            found.append(f"{key} {before.get(key)} and not {now.get(key)}")
    return found


def _flat(values: Mapping[str, object], above: str = "") -> dict[str, object]:
    """Values by `section.key`; paths as they are from anywhere."""
    found: dict[str, object] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            found |= _flat(value, f"{above}{name}.")
        elif isinstance(value, Path):
            found[above + name] = os.path.abspath(value)
        else:
            found[above + name] = value
    return found


def _listed(phrases: Sequence[str]) -> str:
    shown = list(phrases[:_MOST_SHOWN])
    if len(phrases) > _MOST_SHOWN:
        shown.append(f"{plural(len(phrases) - _MOST_SHOWN, 'more difference')}")
    return ", ".join(shown)
