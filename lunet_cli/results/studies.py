"""What a study of prunings reports and returns."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lunet_cli.results.events import Event
from lunet_cli.results.numbers import Undefinable
from lunet_cli.results.words import format_seconds, plural

TrialKind = Literal["start", "pruning", "from-scratch"]
TrialState = Literal["finished", "begun", "new"]


@dataclass(frozen=True)
class TrialListed:
    """A trial of a study, before the study goes on.

    Args:
        trial: Its name, that of its folder.
        kind: Whether it is a training that prunings start from, a pruning, or a training beside
            them.
        architecture: Its network, before pruning.
        state: How far it is.
    """

    trial: str
    kind: TrialKind
    architecture: str
    state: TrialState


@dataclass(frozen=True)
class TrialStarted(Event):
    """A trial has been started in a process of its own."""

    trial: str
    num_threads: int

    def __str__(self) -> str:
        return f"{self.trial}: started, {plural(self.num_threads, 'thread')}"


@dataclass(frozen=True)
class TrialMoved(Event):
    """An epoch of a training or a step of a pruning is done.

    Args:
        trial: The trial.
        num_done: Epochs or steps that are done.
        total: How many there are.
        detail: What was found, in words.
        val_dice: Mean Dice over the validation cases; NaN where that was not measured.
    """

    trial: str
    num_done: int
    total: int
    detail: str
    val_dice: float = math.nan

    def __str__(self) -> str:
        return f"{self.trial}: {self.num_done}/{self.total} {self.detail}"


@dataclass(frozen=True)
class TrialDone(Event):
    """A trial has ended by itself.

    Args:
        trial: The trial.
        seconds: How long it took in this session.
        num_left: Trials that are still to do.
    """

    trial: str
    seconds: float
    num_left: int

    def __str__(self) -> str:
        took = format_seconds(self.seconds)
        return f"{self.trial}: finished in {took}, {plural(self.num_left, 'trial')} left"


@dataclass(frozen=True)
class TrialTaken(Event):
    """A trial is left alone, since another process works on it."""

    trial: str

    def __str__(self) -> str:
        return f"{self.trial}: another process works on it"


@dataclass(frozen=True)
class TrialFailed(Event):
    """A trial has failed, or cannot begin; the others go on.

    Args:
        trial: The trial.
        message: What was wrong.
        hint: What to do about it; may be empty.
    """

    trial: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        told = f"{self.trial}: {self.message}"
        if not self.hint:
            return told
        return f"{told} ({self.hint})"


@dataclass(frozen=True)
class StudyRow:
    """A network of a study: a step of a pruning, or what a training has ended with.

    Args:
        trial: Its trial.
        kind: The kind of that.
        strategy: The strategy of a pruning with what is its own, or the preset of a training beside
            the prunings; empty for the networks that prunings start from.
        seed: `experiment.seed`.
        step: The step of a pruning; 0 of a training.
        parameters: Parameters of the network.
        flops: FLOPs of its convolutions for 64 x 64 x 64 voxels.
        dice: Mean Dice over the validation cases.
        width_ratio: Channels of the widest layer that may be pruned for each of the narrowest.
    """

    trial: str
    kind: TrialKind
    strategy: str
    seed: int
    step: int
    parameters: int
    flops: int
    dice: Undefinable
    width_ratio: float


@dataclass(frozen=True)
class OverSeeds:
    """A value over the seeds of a study.

    Args:
        mean: Their mean.
        low: The lowest.
        high: The highest.
        num_seeds: How many there are.
    """

    mean: Undefinable
    low: Undefinable
    high: Undefinable
    num_seeds: int

    @classmethod
    def of(cls, values: Iterable[float]) -> OverSeeds:
        """Summarize the values of at least one seed."""
        found = list(values)
        return cls(sum(found) / len(found), min(found), max(found), len(found))


@dataclass(frozen=True)
class StudyCurve:
    """Dice against parameters of a strategy.

    Args:
        strategy: The strategy.
        points: Parameters, from the smallest on, and the Dice of the first step of each seed that
            has at most so many.
    """

    strategy: str
    points: tuple[tuple[int, OverSeeds], ...]


@dataclass(frozen=True)
class TrainedNetwork:
    """A network that was trained and not pruned.

    Args:
        name: Its preset.
        kind: Whether prunings start from it.
        parameters: Its parameters.
        flops: FLOPs of its convolutions for 64 x 64 x 64 voxels.
        dice: Its Dice.
    """

    name: str
    kind: TrialKind
    parameters: int
    flops: int
    dice: OverSeeds


@dataclass(frozen=True)
class CaseDifference:
    """How Dice differs between two networks on the same cases, each case with its mean over seeds.

    Args:
        mean: Mean of the differences over cases.
        interval: 95 % percentile bootstrap confidence interval of that mean over cases; NaN for
            fewer than two.
        num_cases: Cases that count.
        num_seeds: Seeds that both have.
    """

    mean: Undefinable
    interval: tuple[Undefinable, Undefinable]
    num_cases: int
    num_seeds: int


@dataclass(frozen=True)
class StrategyAtBudget:
    """A strategy at the first step that has at most the parameters of the budget.

    Args:
        strategy: The strategy.
        is_reached: Whether every seed comes down to the budget; otherwise all is of the last steps.
        parameters: Parameters of the networks.
        flops: FLOPs of their convolutions, mean over seeds.
        dice: Their Dice.
        change: How that differs from the networks before pruning; None where no case is known.
        ratio_before: Channels of the widest layer that may be pruned for each of the narrowest,
            before pruning.
        ratio: The same at the budget.
    """

    strategy: str
    is_reached: bool
    parameters: OverSeeds
    flops: float
    dice: OverSeeds
    change: CaseDifference | None
    ratio_before: float
    ratio: OverSeeds


@dataclass(frozen=True)
class StudyComparison:
    """Two of a study at the budget, case by case.

    Args:
        first: A strategy or preset.
        second: The strategy that it is compared with.
        difference: Dice of the first minus that of the second.
        p_value: Wilcoxon signed-rank test over cases, two-sided, after Holm.
    """

    first: str
    second: str
    difference: CaseDifference
    p_value: Undefinable


@dataclass(frozen=True)
class StudyResult:
    """What a study has found so far.

    Args:
        folder: Its folder.
        architecture: The network that is pruned.
        budget: Share of its parameters that may be left.
        rows: Every network of the trials that have finished.
        curves: One per strategy.
        trained: The networks that were trained.
        strategies: Each strategy at the budget.
        comparisons: Strategies with each other, then networks trained from scratch with the first
            strategy.
        failures: Trials that failed, or could not begin.
        signal: Number of the signal that interrupted; 0 otherwise.
    """

    folder: Path
    architecture: str
    budget: float
    rows: tuple[StudyRow, ...]
    curves: tuple[StudyCurve, ...]
    trained: tuple[TrainedNetwork, ...]
    strategies: tuple[StrategyAtBudget, ...]
    comparisons: tuple[StudyComparison, ...]
    failures: tuple[TrialFailed, ...]
    signal: int = 0
