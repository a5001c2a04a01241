"""The trials of a study: what each is asked to do, and how far it is."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from lunet_cli.config.foresight import require_startable
from lunet_cli.config.load import with_settings
from lunet_cli.config.network_cost import count_parameters
from lunet_cli.config.presets import parse_preset
from lunet_cli.config.run import RunConfig
from lunet_cli.config.visualization import VisualizationConfig
from lunet_cli.engine.pruning.beginning import require_channels_to_spare
from lunet_cli.engine.pruning.leaning import network_of
from lunet_cli.engine.pruning.pruner import smallest
from lunet_cli.engine.run_folder import RunFolder
from lunet_cli.engine.studies.as_begun import Asked, require_as_begun, with_one_division
from lunet_cli.errors import ConfigError, DataError
from lunet_cli.results.studies import TrialKind, TrialListed, TrialState

# What a pruning may have otherwise when it goes on.
_GOES_FARTHER = ("pruning.steps",)
# How settings of a strategy are called in the names of trials, where that is not `key-value`.
_SHORT_NAMES = {"normalization=none": "unnormalized"}


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One training or pruning of a study.

    Args:
        kind: Whether it is a training that prunings start from, a pruning, or a training beside
            them.
        strategy: The strategy of a pruning with what is its own, or the preset of a training beside
            the prunings; empty for one that prunings start from.
        config: What it is asked to do.
        start: The trial whose best model is pruned; None for a training.
    """

    kind: TrialKind
    strategy: str
    config: RunConfig
    start: Trial | None = None

    @property
    def name(self) -> str:
        """Its name, that of its folder."""
        return self.config.experiment.name

    @property
    def seed(self) -> int:
        """Start of its random numbers."""
        return self.config.experiment.seed

    @property
    def folder(self) -> RunFolder:
        """Its files."""
        return RunFolder.of(self.config)

    @property
    def state(self) -> TrialState:
        """How far it is.

        Raises:
            DataError: Its files are damaged.
        """
        if not self.folder.is_used:
            return "new"
        if self._has_ended():
            return "finished"
        return "begun"

    def _has_ended(self) -> bool:
        summary = self.folder.read_summary()
        if summary is None or summary.outcome == "interrupted":
            return False
        if self.kind != "pruning" or summary.outcome == "stopped early":
            return True
        return len(self.folder.read_pruning()) > self.config.pruning.steps

    def listed(self) -> TrialListed:
        """What is told of it before the study goes on."""
        return TrialListed(self.name, self.kind, self.config.model.architecture, self.state)


def plan_trials(
    config: RunConfig, *, strategies: Sequence[str], seeds: int, from_scratch: Sequence[str]
) -> tuple[Trial, ...]:
    """The trials of a study, each after the one that it starts from.

    Args:
        config: What all have in common; `experiment.name` is the folder of the study.
        strategies: What prunings differ in: `stamp`, or `stamp:normalization=none` with keys of the
            section `pruning`, separated by commas.
        seeds: Seeds, from 1 on.
        from_scratch: Presets that are trained in the same way.

    Raises:
        ConfigError: A strategy or preset is none, is there twice, or cannot be pruned.
    """
    settings = {_name_of(strategy): _settings_of(strategy) for strategy in strategies}
    presets = [parse_preset(name).name for name in from_scratch]
    _require_different([*map(_name_of, strategies), *presets])
    config = with_one_division(config.model_copy(update={"visualization": VisualizationConfig()}))
    for strategy in settings.values():
        changed = with_settings(config, strategy)
        require_channels_to_spare(network_of(changed, None), changed.pruning)
    trials: list[Trial] = []
    for seed in range(1, seeds + 1):
        trials += _trials_of_seed(config, seed, settings, presets)
    # Those that others wait for come first; otherwise, seed by seed, so that a study that is
    # stopped has whole seeds.
    return tuple(sorted(trials, key=lambda trial: trial.kind != "start"))


def _trials_of_seed(
    config: RunConfig, seed: int, strategies: Mapping[str, list[str]], presets: Iterable[str]
) -> Iterator[Trial]:
    def changed(name: str, settings: Iterable[str] = ()) -> RunConfig:
        folder = config.experiment.output_dir / config.experiment.name
        place = config.experiment.model_copy(
            update={"name": f"{name}_seed{seed}", "output_dir": folder, "seed": seed}
        )
        return with_settings(config.model_copy(update={"experiment": place}), settings)

    start = Trial(kind="start", strategy="", config=changed("start"))
    yield start
    for name, settings in strategies.items():
        yield Trial(kind="pruning", strategy=name, config=changed(name, settings), start=start)
    for preset in presets:
        other = changed(preset, [f"model.architecture={preset}", "model.widths=null"])
        yield Trial(kind="from-scratch", strategy=preset, config=other)


def _settings_of(strategy: str) -> list[str]:
    """The settings that `stamp:normalization=none` stands for."""
    name, _, own = strategy.partition(":")
    settings = [f"pruning.strategy={name}"]
    for setting in filter(None, own.split(",")):
        settings.append(f"pruning.{setting.strip()}")
    return settings


def _name_of(strategy: str) -> str:
    """What the trials of a strategy are called: `stamp-unnormalized`."""
    name, _, own = strategy.partition(":")
    parts = [name]
    for setting in filter(None, own.split(",")):
        plain = setting.replace(" ", "")
        parts.append(_SHORT_NAMES.get(plain, plain.replace("=", "-")))
    return "-".join(parts)


def _require_different(names: Sequence[str]) -> None:
    for name, number in Counter(names).items():
        if number > 1:
            raise ConfigError(
                f"{name}: is there {number} times", hint="Name each strategy and preset once."
            )


def require_as_asked(trials: Iterable[Trial]) -> None:
    """Raise if a trial was begun with another configuration.

    Raises:
        ConfigError: With a line for each.
    """
    asked = [Asked(trial.folder, trial.config, _ignored(trial)) for trial in trials]
    require_as_begun(asked)


def _ignored(trial: Trial) -> tuple[str, ...]:
    """Keys that a trial may have had otherwise when it was begun."""
    if trial.kind == "pruning":
        return _GOES_FARTHER
    return ("pruning.",)  # A training does not look at that section.


def require_startable_trials(trials: Iterable[Trial]) -> None:
    """Raise if a trial that has not ended could not begin on this machine.

    Raises:
        LunetError: Of the kind that the trial would raise.
    """
    for trial in trials:
        with contextlib.suppress(DataError):  # One that is damaged fails alone.
            if trial.state == "finished":
                continue
        require_startable(trial.config)


def require_within_reach(trials: Iterable[Trial], budget: float) -> None:
    """Raise if no pruning can come down to a budget.

    Args:
        trials: All trials.
        budget: Share of the parameters that may be left.

    Raises:
        ConfigError: With what can be left.
    """
    least = 1.0
    for trial in trials:
        pruning = trial.config.pruning
        if trial.kind == "pruning" and pruning.strategy != "none":
            spec = network_of(trial.config, None)
            left = count_parameters(smallest(spec, pruning)) / count_parameters(spec)
            least = min(least, left)
    if budget < least < 1:
        raise ConfigError(
            f"`budget`: {budget:g} is less than the {least:.2g} of the parameters that are left "
            "when each layer has its last channel, or is protected",
            hint="Compare at a larger share, or protect less: `pruning.protect=[]`",
        )
