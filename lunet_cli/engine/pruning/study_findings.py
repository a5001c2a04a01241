"""What the trials of a study have found, from the tables in their run folders."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from lunet_cli.config.layers import layers
from lunet_cli.config.network import NetworkSpec
from lunet_cli.config.network_cost import count_conv_flops, count_parameters
from lunet_cli.config.presets import parse_preset
from lunet_cli.config.pruning import PruningConfig
from lunet_cli.engine.pruning.pruner import protected_of
from lunet_cli.engine.pruning.study_plan import Trial
from lunet_cli.engine.pruning.trial import needs_work
from lunet_cli.engine.run_folder import RunFolder
from lunet_cli.engine.studies.differences import Cases, compared, difference, paired
from lunet_cli.errors import ConfigError, LunetError
from lunet_cli.results.pruning import PruningStep
from lunet_cli.results.studies import (
    OverSeeds,
    StrategyAtBudget,
    StudyComparison,
    StudyCurve,
    StudyResult,
    StudyRow,
    TrainedNetwork,
    TrialFailed,
)


@dataclass(frozen=True)
class _Network:
    """A network of a trial.

    Args:
        row: Its line of `study.csv`.
        dice_per_case: Mean Dice over labels of each validation case; empty where it is not known.
    """

    row: StudyRow
    dice_per_case: Mapping[str, float]


@dataclass(frozen=True)
class _Finished:
    """A trial that has finished.

    Args:
        trial: The trial.
        networks: Its networks: those of all steps, or the one that was trained.
    """

    trial: Trial
    networks: tuple[_Network, ...]

    @classmethod
    def read(cls, trial: Trial) -> _Finished:
        """Read the tables of a trial.

        Raises:
            DataError: One is missing or damaged.
        """
        if trial.kind == "pruning":
            return cls(trial, tuple(_pruned(trial)))
        return cls(trial, (_trained(trial),))

    @property
    def first(self) -> _Network:
        """The network before the first step, or the only one."""
        return self.networks[0]

    def at_most(self, parameters: float) -> _Network | None:
        """The first network with at most so many parameters."""
        # Where nothing is removed, the last of equal networks is the one that was trained as long.
        by_parameters = {network.row.parameters: network for network in self.networks}
        for number, network in by_parameters.items():
            if number <= parameters:
                return network
        return None


def find(
    trials: Sequence[Trial],
    folder: RunFolder,
    *,
    budget: float,
    failures: Sequence[TrialFailed] = (),
) -> StudyResult:
    """Collect what the finished trials have found, and write `study.csv`.

    Args:
        trials: All trials, at least one.
        folder: The folder of the study.
        budget: Share of the parameters that may be left.
        failures: Trials that failed.

    Raises:
        OutputError: The table cannot be written.
    """
    failed = {failure.trial: failure for failure in failures}
    finished: list[_Finished] = []
    for trial in trials:
        try:
            if trial.name not in failed and not needs_work(trial):
                finished.append(_Finished.read(trial))
        except LunetError as error:
            failed[trial.name] = TrialFailed(trial.name, error.message, error.hint)
    rows = [network.row for one in finished for network in one.networks]
    folder.write_study(rows)
    strategies = _by_strategy(finished, "pruning")
    from_scratch = _by_strategy(finished, "from-scratch")
    at_budget = {name: _networks_at(pruned, budget) for name, pruned in strategies.items()}
    return StudyResult(
        folder=folder.path,
        architecture=trials[0].config.model.architecture,
        budget=budget,
        rows=tuple(rows),
        curves=tuple(_curve(name, pruned) for name, pruned in strategies.items()),
        trained=tuple(_trained_networks(finished)),
        strategies=tuple(
            _strategy_at_budget(name, pruned, at_budget[name])
            for name, pruned in strategies.items()
        ),
        comparisons=tuple(_comparisons(at_budget, from_scratch)),
        failures=tuple(failed.values()),
    )


def _pruned(trial: Trial) -> Iterator[_Network]:
    free = _free_layers(parse_preset(trial.config.model.architecture).spec, trial.config.pruning)
    for step in trial.folder.read_pruning():
        yield _Network(_row_of_step(trial, step, free), step.dice_per_case)


def _row_of_step(trial: Trial, step: PruningStep, free: frozenset[str]) -> StudyRow:
    return StudyRow(
        trial=trial.name,
        kind=trial.kind,
        strategy=trial.strategy,
        seed=trial.seed,
        step=step.step,
        parameters=step.parameters,
        flops=step.flops,
        dice=step.val_dice,
        width_ratio=_width_ratio(step.widths, free),
    )


def _trained(trial: Trial) -> _Network:
    """The best model of a training."""
    manifest, summary = trial.folder.read_manifest(), trial.folder.read_summary()
    if manifest is None or summary is None or summary.best is None:
        raise ConfigError(
            f"{trial.folder.path}: has no best model whose Dice is known",
            hint="Leave training.checkpoint.keep_best at true.",
        )
    spec = manifest.network
    widths = {layer.name: layer.width for layer in layers(spec)}
    row = StudyRow(
        trial=trial.name,
        kind=trial.kind,
        strategy=trial.strategy,
        seed=trial.seed,
        step=0,
        parameters=count_parameters(spec),
        flops=count_conv_flops(spec),
        dice=summary.best.val_dice,
        width_ratio=_width_ratio(widths, _free_layers(spec, trial.config.pruning)),
    )
    return _Network(row, trial.folder.read_validation_cases(summary.best.epoch) or {})


def _free_layers(spec: NetworkSpec, config: PruningConfig) -> frozenset[str]:
    """Names of the layers that channels may be taken from."""
    names = frozenset(layer.name for layer in layers(spec))
    try:
        return names - protected_of(spec, config)
    except ConfigError:  # A pattern for the network that is pruned may fit no layer of another one.
        return names


def _width_ratio(widths: Mapping[str, int], free: frozenset[str]) -> float:
    """Channels of the widest layer for each of the narrowest, among those that may be pruned."""
    values = [width for name, width in widths.items() if name in free]
    if not values:
        return math.nan
    return max(values) / min(values)


def _by_strategy(finished: Sequence[_Finished], kind: str) -> dict[str, list[_Finished]]:
    found: dict[str, list[_Finished]] = {}
    for one in finished:
        if one.trial.kind == kind:
            found.setdefault(one.trial.strategy, []).append(one)
    return found


def _curve(strategy: str, pruned: Sequence[_Finished]) -> StudyCurve:
    """Dice against parameters, as far down as all seeds go."""
    counts: set[int] = set()
    smallest = 0
    for one in pruned:
        of_seed = [network.row.parameters for network in one.networks]
        counts.update(of_seed)
        smallest = max(smallest, min(of_seed))
    points: list[tuple[int, OverSeeds]] = []
    for parameters in sorted(count for count in counts if count >= smallest):
        found = [one.at_most(parameters) for one in pruned]
        dice = [network.row.dice for network in found if network is not None]
        # A network before pruning is as large with each seed, so that all have one.
        points.append((parameters, OverSeeds.of(dice)))
    return StudyCurve(strategy, tuple(points))


def _trained_networks(finished: Sequence[_Finished]) -> Iterator[TrainedNetwork]:
    by_preset: dict[tuple[str, str], list[_Finished]] = {}
    for one in finished:
        if one.trial.kind != "pruning":
            key = (one.trial.kind, one.trial.config.model.architecture)
            by_preset.setdefault(key, []).append(one)
    for (_, name), seeds in by_preset.items():
        first = seeds[0]
        yield TrainedNetwork(
            name=name,
            kind=first.trial.kind,
            parameters=first.first.row.parameters,
            flops=first.first.row.flops,
            dice=OverSeeds.of(one.first.row.dice for one in seeds),
        )


def _networks_at(pruned: Sequence[_Finished], budget: float) -> dict[int, _Network] | None:
    """By seed, the first network that has at most the budget; None where a seed has none."""
    found: dict[int, _Network] = {}
    for one in pruned:
        network = one.at_most(budget * one.first.row.parameters)
        if network is None:
            return None
        found[one.trial.seed] = network
    return found


def _strategy_at_budget(
    name: str, pruned: Sequence[_Finished], reached: Mapping[int, _Network] | None
) -> StrategyAtBudget:
    networks = reached
    if networks is None:
        networks = {one.trial.seed: one.networks[-1] for one in pruned}
    rows = [network.row for network in networks.values()]
    before = {one.trial.seed: one.first.dice_per_case for one in pruned}
    differences, num_seeds = paired(_cases(networks), before)
    return StrategyAtBudget(
        strategy=name,
        is_reached=reached is not None,
        parameters=OverSeeds.of(row.parameters for row in rows),
        flops=sum(row.flops for row in rows) / len(rows),
        dice=OverSeeds.of(row.dice for row in rows),
        change=difference(differences, num_seeds),
        ratio_before=pruned[0].first.row.width_ratio,
        ratio=OverSeeds.of(row.width_ratio for row in rows),
    )


def _comparisons(
    at_budget: Mapping[str, Mapping[int, _Network] | None],
    from_scratch: Mapping[str, Sequence[_Finished]],
) -> Iterator[StudyComparison]:
    """Each strategy that reaches the budget with each one before it, then the trainings."""
    strategies: dict[str, Cases] = {}
    for name, networks in at_budget.items():
        if networks is not None:
            strategies[name] = _cases(networks)
    pairs = list(itertools.combinations(strategies.items(), 2))
    yield from compared([(second, first) for first, second in pairs])
    trained: dict[str, Cases] = {}
    for name, seeds in from_scratch.items():
        trained[name] = {one.trial.seed: one.first.dice_per_case for one in seeds}
    # Another question than which strategy is better, so that p-values are adjusted apart.
    for first in itertools.islice(strategies.items(), 1):
        yield from compared([(other, first) for other in trained.items()])


def _cases(networks: Mapping[int, _Network]) -> dict[int, Mapping[str, float]]:
    return {seed: network.dice_per_case for seed, network in networks.items()}
