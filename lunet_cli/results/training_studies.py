"""What a study of trainings reports and returns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lunet_cli.results.numbers import Undefinable
from lunet_cli.results.studies import CaseDifference, OverSeeds, TrialFailed
from lunet_cli.results.views import Pareto

RunState = Literal["finished", "running", "begun", "new"]


@dataclass(frozen=True)
class RunListed:
    """A training of a study, before the study goes on.

    Args:
        run: Its name: its folder below that of the study.
        architecture: Its network.
        state: How far it is; `running` where a process works on it at this moment.
    """

    run: str
    architecture: str
    state: RunState


@dataclass(frozen=True)
class StudiedTrial:
    """A combination with one seed, all of whose trainings have ended.

    Args:
        trial: Its name.
        variant: Its combination.
        values: The value of each key that varies, as text.
        seed: `experiment.seed`.
        num_folds: Folds that were trained; 1 without a cross-validation.
        parameters: Parameters of the network.
        flops: FLOPs of its convolutions for 64 x 64 x 64 voxels.
        num_cases: Cases that count.
        value: Mean of the metric over these cases.
    """

    trial: str
    variant: str
    values: dict[str, str]
    seed: int
    num_folds: int
    parameters: int
    flops: int
    num_cases: int
    value: Undefinable


@dataclass(frozen=True)
class StudiedVariant:
    """A combination, over its seeds.

    Args:
        variant: Its name.
        architecture: Its network.
        values: The value of each key that varies, as text.
        parameters: Parameters of the network.
        flops: FLOPs of its convolutions for 64 x 64 x 64 voxels.
        latency_ms: Median time of a pass; None where that was not measured.
        value: The metric.
        change: How it differs from that of the first combination; None of that one, and where they
            share no case.
        p_value: Wilcoxon signed-rank test of that over cases, two-sided, after Holm; None likewise.
        on_parameter_front: Whether no other one is as good with as few parameters.
        on_flop_front: The same for FLOPs.
    """

    variant: str
    architecture: str
    values: dict[str, str]
    parameters: int
    flops: int
    latency_ms: float | None
    value: OverSeeds
    change: CaseDifference | None
    p_value: float | None
    on_parameter_front: bool
    on_flop_front: bool


@dataclass(frozen=True, kw_only=True)
class TrainingStudy:
    """What a study of trainings has found so far.

    Args:
        folder: Its folder.
        metric: What trainings are compared by, its key in `config.metrics.METRICS`.
        keys: The keys that vary.
        is_search: Whether combinations were chosen one after the other, and not all of them.
        trials: All that have ended.
        variants: Each combination of them. The first is the one that others are compared with; of a
            search, the best comes first, and none are compared.
        num_cases: Cases with a value in all of them, over which means are taken.
        num_left_out: Other cases, which have no value in one of them.
        pictures: The combinations by value and cost; empty for fewer than two.
        failures: Trainings that failed.
        hopeless: Combinations that a search has given up.
        unfinished: Trainings that have neither ended nor failed.
        latency: What latencies are, for an axis; empty without them.
        machine: What they were measured on.
        signal: Number of the signal that interrupted; 0 otherwise.
    """

    folder: Path
    metric: str
    keys: tuple[str, ...]
    is_search: bool
    trials: tuple[StudiedTrial, ...]
    variants: tuple[StudiedVariant, ...]
    num_cases: int
    num_left_out: int = 0
    pictures: tuple[Pareto, ...] = ()
    failures: tuple[TrialFailed, ...] = ()
    hopeless: tuple[str, ...] = ()
    unfinished: tuple[str, ...] = ()
    latency: str = ""
    machine: str = ""
    signal: int = 0
