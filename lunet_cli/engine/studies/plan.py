"""The trainings of a study: which differ in what, how they are called, and what each is asked."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from lunet_cli.config.benchmark import BenchmarkConfig
from lunet_cli.config.foresight import require_startable
from lunet_cli.config.load import with_values
from lunet_cli.config.names import one_line
from lunet_cli.config.run import RunConfig
from lunet_cli.config.study import Range, StudyConfig
from lunet_cli.config.visualization import VisualizationConfig
from lunet_cli.engine.run_folder import RunFolder
from lunet_cli.engine.run_lock import holder_of
from lunet_cli.engine.studies.as_begun import Asked, require_as_begun, with_one_division
from lunet_cli.engine.training.ended import evaluation_of_best, has_ended
from lunet_cli.errors import ConfigError
from lunet_cli.results.training_studies import RunListed, RunState

# Varied values by their keys.
Values = Mapping[str, Any]

CLAIMS = ".claims"
"""The folder in that of a study that holds who works on what."""

_ARCHITECTURE = "model.architecture"
# What a study decides itself, and how it is asked to.
_OWN_KEYS = {
    "experiment.name": "Each training has a name of its own already.",
    "experiment.output_dir": "All trainings lie in the folder of the study.",
    "experiment.seed": "Ask for several seeds: `study.seeds=5`",
}
_MOST_TRAININGS = 100_000  # More would take months to list, and are a slip of the keyboard.
_LONGEST_NAME = 120  # of a combination; a folder is called so, and files in it have names too
_MOST_MISTAKES = 10


@dataclass(frozen=True)
class Run:
    """One training: a combination with one seed, and one fold if there are several.

    Args:
        name: What it is called: its folder below that of the study.
        config: What it is asked to do.
        claim: The folder whose lock says who works on it. That of the run is free between training
            and measurement.
    """

    name: str
    config: RunConfig
    claim: Path

    @property
    def folder(self) -> RunFolder:
        """Its files."""
        return RunFolder.of(self.config)

    @property
    def is_done(self) -> bool:
        """Whether it has been trained to its end, and measured case by case."""
        if not has_ended(self.folder, self.config):
            return False
        return evaluation_of_best(self.folder) is not None

    @property
    def holder(self) -> str | None:
        """Who works on it, in words; None where nobody is known to."""
        # A person may also train there, without a study.
        return holder_of(self.claim) or holder_of(self.folder.path)

    @property
    def state(self) -> RunState:
        """How far it is."""
        if self.holder is not None:
            return "running"
        if self.is_done:
            return "finished"
        if self.folder.is_used:
            return "begun"
        return "new"


@dataclass(frozen=True)
class Trial:
    """A combination with one seed.

    Args:
        name: Its name, that of its folder.
        seed: Start of its random numbers.
        config: What it is asked to do.
        runs: Its trainings: one, or one for each fold.
    """

    name: str
    seed: int
    config: RunConfig
    runs: tuple[Run, ...]

    @property
    def folder(self) -> RunFolder:
        """Its files; the folds lie in it."""
        return RunFolder.of(self.config)


@dataclass(frozen=True)
class Variant:
    """A combination of values.

    Args:
        name: What it is called.
        values: The value of each key that varies.
        trials: One for each seed.
    """

    name: str
    values: Values
    trials: tuple[Trial, ...]

    @property
    def runs(self) -> list[Run]:
        """All its trainings."""
        return list(itertools.chain(*(trial.runs for trial in self.trials)))


@dataclass(frozen=True)
class Planner:
    """Makes trainings of combinations.

    Args:
        config: What all have in common.
    """

    config: RunConfig
    _names: dict[str, list[str]] = field(default_factory=dict)

    @property
    def study(self) -> StudyConfig:
        """What varies, and how often each combination is trained."""
        return self.config.study

    def grid(self) -> tuple[Variant, ...]:
        """Every combination.

        Raises:
            ConfigError: With a line for each key or value that is wrong.
        """
        self._require_possible()
        choices: list[Sequence[Any]] = []
        for key, found in self.study.vary.items():
            if isinstance(found, Range):
                raise ConfigError(
                    f"`vary={key}`: a range has no end of values, and a study trains every "
                    "combination",
                    hint="List the values, or search: `study.search=tpe`",
                )
            choices.append(found)
        self._require_few(math.prod(map(len, choices)))
        combinations: list[Values] = []
        for chosen in itertools.product(*choices):
            combinations.append(dict(zip(self.study.vary, chosen, strict=True)))
        configs = self._configs(combinations)
        variants = []
        for values, config in zip(combinations, configs, strict=True):
            variants.append(self._variant(self._name(values), values, config))
        return tuple(variants)

    def one(self, name: str, values: Values) -> Variant:
        """One combination, as a search has chosen it.

        Raises:
            ConfigError: The values do not go with each other.
        """
        return self._variant(name, values, self._configs([values])[0])

    def require_searchable(self) -> None:
        """Raise if a value that a search may choose is wrong.

        Raises:
            ConfigError: With a line for each.
        """
        self._require_possible()
        if not self.study.vary:
            raise ConfigError(
                "`study.search`: nothing varies",
                hint="`vary=training.learning_rate=1e-4..1e-1:log`",
            )
        self._require_few(self.study.trials)
        alone = []
        for key, found in self.study.vary.items():
            values = (found.low, found.high) if isinstance(found, Range) else found
            alone += [{key: value} for value in values]
        self._configs(alone)

    def _require_possible(self) -> None:
        for key in self.study.vary:
            self._require_free(key)
        if not self.config.training.checkpoint.keep_best:
            raise ConfigError(
                "training.checkpoint.keep_best: false, and a study compares the best models",
                hint="Leave it at true.",
            )
        for key, found in self.study.vary.items():
            _require_apart(key, found)
        for condition, changes in self.study.settings.items():
            self._require_used(condition, changes)

    def _require_free(self, key: str) -> None:
        """Raise if a key is one that the study itself sets."""
        study = self.study
        if key in _OWN_KEYS or key.startswith("study."):
            hint = _OWN_KEYS.get(key, "A study has one section of its own.")
            raise ConfigError(f"`vary={key}`: cannot vary", hint=hint)
        if key == "training.max_minutes" and study.minutes is not None:
            raise ConfigError(f"`vary={key}`: `study.minutes` sets the same for all; keep one")
        if key == "data.split.fold" and study.fold is not None:
            raise ConfigError(f"`vary={key}`: `study.fold` trains all folds; keep one")

    def _require_used(self, condition: str, changes: Mapping[str, Any]) -> None:
        """Raise if settings that go with a value could never hold."""
        told = f"study.settings: {one_line(condition)}"
        key, _, pattern = condition.partition("=")
        found = self.study.vary.get(key, ())
        if isinstance(found, Range):
            raise ConfigError(f"{told}: {key} has a range, and a pattern needs values to fit")
        texts = _texts(found)
        if not any(fnmatchcase(text, pattern) for text in texts):
            raise ConfigError(f"{told}: fits none of the values of {key} ({', '.join(texts[:5])})")
        for setting in changes:
            if setting in self.study.vary:
                raise ConfigError(f"{told}: {setting} varies, and cannot be set here too")

    def _require_few(self, num_combinations: int) -> None:
        number = num_combinations * self.study.seeds
        if number > _MOST_TRAININGS:
            raise ConfigError(
                f"{num_combinations:,} combinations with {self.study.seeds} seeds are "
                f"{number:,} trainings; {_MOST_TRAININGS:,} are possible",
                hint="Search instead of training all: `study.search=tpe`",
            )

    def _configs(self, combinations: Iterable[Values]) -> list[RunConfig]:
        """The configuration of each combination, without seed and place; or all mistakes."""
        configs: list[RunConfig] = []
        mistakes: dict[str, None] = {}
        hint = ""
        shared = _shared(self.config)
        for values in combinations:
            changes, origins = self._changes(values)
            try:
                configs.append(with_values(shared, changes, origins=origins))
            except ConfigError as error:
                mistakes |= dict.fromkeys(error.lines)
                hint = error.hint
        if mistakes:
            raise ConfigError(list(mistakes)[:_MOST_MISTAKES], hint=hint)
        return configs

    def _changes(self, values: Values) -> tuple[Values, Mapping[str, str]]:
        """What a combination has otherwise, and where each of that comes from."""
        changes: dict[str, object] = {}
        origins: dict[str, str] = {}
        for condition, settings in self.study.settings.items():
            key, _, pattern = condition.partition("=")
            if key in values and fnmatchcase(value_text(values[key]), pattern):
                changes |= settings
                origins |= dict.fromkeys(settings, f"study.settings: {one_line(condition)}")
        for key, value in values.items():
            changes[key] = _plain(value)
            origins[key] = f"`vary={one_line(f'{key}={value_text(value)}')}`"
        if self.study.minutes is not None:
            changes["training.max_minutes"] = self.study.minutes
            origins["training.max_minutes"] = "`study.minutes`"
        return changes, origins

    def _variant(self, name: str, values: Values, config: RunConfig) -> Variant:
        trials = []
        for seed in range(1, self.study.seeds + 1):
            trials.append(self._trial(f"{name}_seed{seed}", seed, config))
        return Variant(name, values, tuple(trials))

    def _trial(self, name: str, seed: int, config: RunConfig) -> Trial:
        place = config.experiment.model_copy(
            update={"name": name, "output_dir": RunFolder.of(self.config).path, "seed": seed}
        )
        config = config.model_copy(update={"experiment": place})
        claims = RunFolder.of(self.config).path / CLAIMS
        runs = [Run(name, config, claims / name)]
        if self.study.fold == "all":
            # Knows the files of volumes, whose library takes a second to load.
            from lunet_cli.engine.training.fold_plan import fold_configs

            runs = []
            for fold in fold_configs(config):
                fold_name = f"{name}/{fold.experiment.name}"
                runs.append(Run(fold_name, fold, claims / fold_name))
        return Trial(name, seed, config, tuple(runs))

    def _name(self, values: Values) -> str:
        """What a combination is called: its architecture, and `key-value` of all else."""
        parts = [self._part(key, value) for key, value in values.items()]
        name = "_".join(parts) or self.config.model.architecture
        if len(name) > _LONGEST_NAME:
            digest = hashlib.sha256(name.encode()).hexdigest()
            name = f"{name[:_LONGEST_NAME]}-{digest[:8]}"
        return name

    def _part(self, key: str, value: Any) -> str:
        found = self.study.vary[key]
        assert not isinstance(found, Range)
        if key not in self._names:
            self._names[key] = list(_apart(map(_value_name, found)))
        # By their texts: 1 equals true.
        text = self._names[key][_texts(found).index(value_text(value))]
        if key == _ARCHITECTURE:
            return text
        return f"{self._short(key)}-{text}"

    def _short(self, key: str) -> str:
        """The end of a key that is its own."""
        *_, last = key.split(".")
        others = [other for other in self.study.vary if other != key]
        if any(other.endswith(f".{last}") for other in others):
            return key
        return last


def value_text(value: Any) -> str:
    """A value as people write it: text as it is, all else as in YAML."""
    if isinstance(value, str):
        return value
    return json.dumps(_plain(value), ensure_ascii=False)


def in_order(variants: Sequence[Variant]) -> Iterator[Run]:
    """All trainings, seed by seed, so that a study that is stopped has whole seeds."""
    for trials in itertools.zip_longest(*(variant.trials for variant in variants)):
        for trial in trials:
            if trial is not None:
                yield from trial.runs


def require_as_asked(variants: Iterable[Variant]) -> None:
    """Raise if a training was begun with another configuration.

    Raises:
        ConfigError: With a line for each.
    """
    runs = itertools.chain(*(variant.runs for variant in variants))
    # A training does not look at the section `pruning`.
    require_as_begun(Asked(run.folder, run.config, ("pruning.",)) for run in runs)


def require_possible_runs(variants: Iterable[Variant]) -> None:
    """Raise if a training that is still to do could not begin on this machine.

    Raises:
        LunetError: Of the kind that the training would raise.
    """
    for variant in variants:
        # Seeds and folds make no difference to what is asked here.
        first, *_ = variant.runs
        if not has_ended(first.folder, first.config):
            require_startable(first.config)


def list_runs(variants: Sequence[Variant]) -> tuple[RunListed, ...]:
    """All trainings, and how far they are."""
    listed = []
    for run in in_order(variants):
        listed.append(RunListed(run.name, run.config.model.architecture, run.state))
    return tuple(listed)


def _shared(config: RunConfig) -> RunConfig:
    """What all trainings have in common.

    Nothing is drawn or timed: it would take long, and times of trainings that run beside each other
    cannot be compared.
    """
    sections = {
        "study": StudyConfig(),
        "visualization": VisualizationConfig(),
        "benchmark": BenchmarkConfig(),
    }
    return with_one_division(config.model_copy(update=sections))


def _require_apart(key: str, found: Range | Sequence[Any]) -> None:
    if isinstance(found, Range):
        return
    texts = _texts(found)
    for text in texts:
        if texts.count(text) > 1:
            raise ConfigError(
                f"`vary={key}`: {one_line(text)} is there {texts.count(text)} times",
                hint="Name each value once; `study.seeds=5` trains each several times.",
            )


def _texts(values: Iterable[Any]) -> list[str]:
    return [value_text(value) for value in values]


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value


def _value_name(value: Any) -> str:
    """A value as a part of the name of a folder."""
    if isinstance(value, tuple | list):
        text = "x".join(map(_value_name, value))
    else:
        text = value_text(value)
    return re.sub(r"[^A-Za-z0-9._+]+", "-", text).strip("-._+")


def _apart(names: Iterable[str]) -> Iterator[str]:
    """Names that differ, also where only letters differ that no folder can have."""
    taken: set[str] = set()
    for name in names:
        told, number = name or "value", 1
        while told.lower() in taken:  # Some file systems take capitals for small letters.
            number += 1
            told = f"{name or 'value'}-{number}"
        taken.add(told.lower())
        yield told
