"""The `study` section: which trainings are compared with each other, and how many of each."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, WithJsonSchema, model_validator

from lunet_cli.config.base import Section
from lunet_cli.config.document import read_value
from lunet_cli.config.metrics import MetricName
from lunet_cli.config.mistakes import find_mistakes
from lunet_cli.config.names import KeyPath, closest, dotted, one_line
from lunet_cli.errors import ConfigError

Sampler = Literal["random", "tpe", "gp", "qmc"]

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_RANGE = re.compile(rf"(?P<low>{_NUMBER})\.\.(?P<high>{_NUMBER})(?P<log>:log)?", re.ASCII)


class Range(Section):
    """Numbers from a lowest to a highest one, for a search."""

    low: int | float
    """The lowest; whole numbers on both sides give whole numbers."""

    high: int | float
    """The highest."""

    log: bool = False
    """Whether orders of magnitude are searched evenly, as suits learning rates."""

    @model_validator(mode="after")
    def _has_numbers(self) -> Range:
        if not self.low < self.high:
            raise ValueError(f"from {self.low:g} to {self.high:g} there is nothing to search")
        if self.log and self.low <= 0:
            raise ValueError(f"log needs numbers above 0, and {self.low:g} is the lowest")
        return self

    @property
    def is_whole(self) -> bool:
        """Whether only whole numbers are meant."""
        return isinstance(self.low, int) and isinstance(self.high, int)


def _read_choices(value: Any) -> Any:
    """A range of the text `1e-4..1e-1:log` or of its parts; one value as a list of it."""
    match = None
    if isinstance(value, str):
        match = _RANGE.fullmatch(value.strip())
    if match is not None:
        low, high = _number(match["low"]), _number(match["high"])
        value = {"low": low, "high": high, "log": match["log"] is not None}
    if isinstance(value, dict):
        return _read_range(value)
    if isinstance(value, list | tuple) and not value:
        raise ValueError("expected at least one value")
    if isinstance(value, list | tuple | Range):
        return value
    return [value]


def _read_range(values: Mapping[str, object]) -> Range:
    # Here and not in the union, whose other members would have something to say too.
    try:
        return Range.model_validate(values)
    except ValidationError as error:
        mistakes = find_mistakes(error, Range, lambda place: "unknown key")
    told = [": ".join(filter(None, (dotted(place), text))) for place, text in mistakes]
    raise ValueError("; ".join(told))


def _number(text: str) -> int | float:
    if re.fullmatch(r"[-+]?\d{1,18}", text):
        return int(text)
    return float(text)


Choices = Annotated[
    Range | tuple[Any, ...],
    BeforeValidator(_read_choices),
    # What may be written, for editors: a range also as text, and one value without its list.
    WithJsonSchema({"type": ["array", "object", "string", "number", "boolean", "null"]}),
]


class StudyConfig(Section):
    """Many trainings that differ in some keys; only `lunet study` looks at it."""

    vary: dict[str, Choices] = {}
    """The keys in which trainings differ, each with a list of its values: `{model.architecture:
    [lunet_small_4f, unet_small_4f]}`. A study trains every combination; a search also takes ranges
    such as `1e-4..1e-1:log`, or `{low: 1, high: 8}`."""

    settings: dict[str, dict[str, Any]] = {}
    """Keys that go with a value: `{model.architecture=*_large_*: {training.batch_size: 1}}`. What
    stands behind the first `=` is a pattern for the value."""

    seeds: Annotated[int, Field(ge=1, le=1000)] = 3
    """How often each combination is trained, with the seeds from 1 on."""

    fold: Literal["all"] | None = None
    """`all` cross-validates each training, so that every case is measured."""

    minutes: Annotated[float, Field(gt=0, le=1e6)] | None = None
    """Minutes of each training, as `training.max_minutes`; null takes the time that the epochs
    take."""

    metric: MetricName = "dice"
    """What trainings are compared by, mean over labels."""

    search: Sampler | None = None
    """Which of Optuna's samplers chooses the combinations, where not all of them are trained, by
    the mean Dice of those that have ended; null trains all."""

    trials: Annotated[int, Field(ge=1, le=100_000)] = 20
    """Combinations that a search tries."""

    stop_hopeless: bool = False
    """Whether a search ends a training whose Dice of the validation is below the median of those
    before it at the same epoch (Optuna's median pruner)."""

    @model_validator(mode="after")
    def _keys_are_apart(self) -> StudyConfig:
        for condition in self.settings:
            key, equals, pattern = condition.partition("=")
            if not equals or not pattern:
                raise ValueError(f"settings: {one_line(condition)}: expected key=pattern")
            if key not in self.vary and self.vary:
                hint = closest(key, self.vary)
                raise ValueError(f"settings: {one_line(key)}: is not varied. {hint}".strip())
        return self


class _Vary(Section):
    """The key `vary` alone."""

    vary: dict[str, Choices]


def read_vary(settings: list[str]) -> dict[str, Range | tuple[Any, ...]]:
    """What varies, of texts `section.key=VALUE,VALUE` or `section.key=LOW..HIGH[:log]`.

    Values are written as in YAML, so that lists, null and quoted text with a comma are possible.

    Raises:
        ConfigError: A text is not of that form, or names a key again.
    """
    found: dict[str, object] = {}
    for setting in settings:
        told = f"`vary={one_line(setting)}`"
        key, equals, text = setting.partition("=")
        key = key.strip()
        if not equals or not key or not text.strip():
            raise ConfigError(
                f"{told}: expected section.key=VALUE,VALUE",
                hint="For instance `vary=model.architecture=lunet_small_4f,unet_small_4f`",
            )
        if key in found:
            raise ConfigError(f"{told}: {key} is there twice", hint="Name all its values at once.")
        found[key] = _read_list(text, told)
    return dict(checked_vary(found))


def checked_vary(vary: Mapping[str, Any]) -> Mapping[str, Range | tuple[Any, ...]]:
    """What varies, with ranges and lists as such.

    Raises:
        ConfigError: Something is neither.
    """
    try:
        return _Vary(vary=dict(vary)).vary
    except ValidationError as error:
        mistakes = find_mistakes(error, _Vary, _unknown)
    raise ConfigError([f"`vary`: {dotted(place[1:])}: {text}" for place, text in mistakes])


def _unknown(place: KeyPath) -> str:
    return f"there is no {place[-1]}"


def _read_list(text: str, told: str) -> Any:
    if _RANGE.fullmatch(text.strip()):
        return text
    try:
        values = read_value(f"[{text}]")
    except ConfigError as error:
        raise ConfigError(
            f"{told}: the values are not valid YAML ({error.message})",
            hint="Put text with commas, colons or brackets into quotes.",
        ) from None
    if not isinstance(values, list):
        raise ConfigError(f"{told}: expected VALUE,VALUE")
    for value in values:
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"{told}: expected finite numbers")
    return values
