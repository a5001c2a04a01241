"""What an evaluation and a comparison report and return."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from lunet_cli.results.events import CaseFailed, Event
from lunet_cli.results.numbers import Undefinable

DISTANCES = ("hausdorff95", "hausdorff", "assd")
"""The metrics in mm, which are undefined where one of two masks is empty."""


@dataclass(frozen=True)
class MetricSummary:
    """A metric of one label over cases.

    Args:
        label: The label, or `mean of labels` for that of each case.
        metric: Its key in `config.metrics.METRICS`.
        mean: Mean over the cases where it is defined; NaN if there is none, and so for all that
            follow.
        sd: Standard deviation over cases (n - 1); NaN for fewer than two.
        median: Median over cases.
        interval: 95 % percentile bootstrap confidence interval of the mean; NaN for fewer than two
            cases.
        num_cases: Cases that count in the mean.
        num_undefined: Cases where it is undefined, because one of prediction and reference is
            empty; they do not count, or with a penalty.
        worst: The cases with the worst values, undefined ones first.
        penalized_mean: Of a distance in mm, the mean over all cases, where undefined ones count
            with the diagonal of the field of view: other than `mean`, it does not improve when a
            structure is missed. NaN of other metrics.
    """

    label: str
    metric: str
    mean: Undefinable
    sd: Undefinable
    median: Undefinable
    interval: tuple[Undefinable, Undefinable]
    num_cases: int
    num_undefined: int
    worst: tuple[tuple[str, Undefinable], ...]
    penalized_mean: Undefinable = math.nan

    @property
    def leaves_out(self) -> bool:
        """Whether the mean does not count cases that a penalty would make worse."""
        # NaN, the penalized mean of what is not a distance, differs from any mean too.
        return self.num_undefined > 0 and self.penalized_mean != self.mean


@dataclass(frozen=True)
class CaseScored(Event):
    """A case was measured."""

    case: str
    mean_dice: float | None
    num_done: int
    num_cases: int

    def __str__(self) -> str:
        done = f"{self.num_done}/{self.num_cases} {self.case}"
        if self.mean_dice is None:
            return done
        return f"{done}: mean Dice {self.mean_dice:.4f}"


@dataclass(frozen=True)
class CaseScore:
    """One label of one case.

    Args:
        case: The case.
        label: The label.
        values: Value of each metric, by its key in `config.metrics.METRICS`; NaN or a penalty where
            it is undefined.
        undefined: Metrics that are undefined.
        diagonal_mm: Diagonal of the field of view, the largest distance possible; NaN if it is not
            known.
        prediction_ml: Volume of the prediction.
        reference_ml: Volume of the reference.
    """

    case: str
    label: str
    values: dict[str, float]
    prediction_ml: float
    reference_ml: float
    undefined: tuple[str, ...] = ()
    diagonal_mm: float = math.nan

    def penalized(self) -> CaseScore:
        """The same with the diagonal in the place of distances that are undefined."""
        values = dict(self.values)
        # NSD and Dice are 0 where a structure is missed; a distance has no value that is worst.
        for name, value in self.values.items():
            if name in DISTANCES and math.isnan(value):
                values[name] = self.diagonal_mm
        return replace(self, values=values)


@dataclass(frozen=True)
class EvaluatedModel:
    """The networks of an evaluation.

    Args:
        checkpoints: Their files.
        sha256: The SHA-256 of each file.
        architecture: Preset of the first.
        parameters: Parameters of all.
        conv_flops_at_64: FLOPs of all convolutions for 64 x 64 x 64 voxels, mirrorings included.
        channels: Channels per level of the first.
        execution: Runtime, device and precision.
        window: Voxels (D, H, W) of a window, `whole`, `stream`; None where each volume decides.
        overlap: Share of a window that neighbours have in common.
        tta: Whether mirrorings were averaged.
    """

    checkpoints: tuple[str, ...]
    sha256: tuple[str, ...]
    architecture: str
    parameters: int
    conv_flops_at_64: int
    channels: tuple[int, ...]
    execution: dict[str, str]
    window: tuple[int, int, int] | Literal["whole", "stream"] | None
    overlap: float
    tta: bool


@dataclass(frozen=True)
class EvaluatedCases:
    """The labelled cases of an evaluation.

    Args:
        root: Their folder; None where training and validation have folders of their own.
        layout: Name of the data layout.
        split: Which of them.
        origin: Where the split comes from, in words.
    """

    root: str | None
    layout: str
    split: str
    origin: str


@dataclass(frozen=True)
class EvaluatedMaps:
    """Label maps that were measured against others."""

    predictions: str
    references: str


@dataclass(frozen=True)
class Bootstrap:
    """How confidence intervals were found."""

    resamples: int
    seed: int
    interval: str


@dataclass(frozen=True)
class EvaluationFacts:
    """What is needed to understand and repeat an evaluation.

    Args:
        model: The networks; None for label maps of any tool.
        data: What was measured.
        labels: Label values of each label.
        num_cases: Cases that were measured.
        nsd_tolerance_mm: Distance that NSD still counts as equal.
        undefined_distances: What became of them, in words.
        bootstrap: How confidence intervals were found.
        versions: Of lunet, Python and the libraries.
    """

    model: EvaluatedModel | None
    data: EvaluatedCases | EvaluatedMaps
    labels: dict[str, tuple[int, ...]]
    num_cases: int
    nsd_tolerance_mm: float
    undefined_distances: str
    bootstrap: Bootstrap
    versions: dict[str, str]


@dataclass(frozen=True)
class EvalResult:
    """What an evaluation found.

    Args:
        title: What was evaluated, in words.
        scores: A row per case and label.
        summaries: A row per label and metric, and for the mean of labels where there are several.
        failures: Cases that could not be used.
        facts: What is needed to understand and repeat it.
        folder: Where `metrics.csv` and `summary.json` are.
    """

    title: str
    scores: tuple[CaseScore, ...]
    summaries: tuple[MetricSummary, ...]
    failures: tuple[CaseFailed, ...]
    facts: EvaluationFacts
    folder: Path


@dataclass(frozen=True)
class PairedDifference:
    """How a run differs from the first one on the same cases.

    Args:
        run: The run.
        label: The label, or `mean of labels`.
        mean: Mean of the differences, this run minus the first.
        interval: 95 % percentile bootstrap confidence interval of that mean.
        p_value: Wilcoxon signed-rank test, two-sided, after Holm over all runs of this label; 1
            where no case differs.
        num_cases: Cases that count.
        num_left_out: Cases that only one run has, or whose value is undefined in one.
    """

    run: str
    label: str
    mean: Undefinable
    interval: tuple[Undefinable, Undefinable]
    p_value: Undefinable
    num_cases: int
    num_left_out: int


@dataclass(frozen=True)
class NonInferiority:
    """Whether a candidate is as good as a reference on the same cases, but for a margin.

    Args:
        mean: Mean of the differences of Dice, candidate minus reference.
        interval: 95 % percentile bootstrap confidence interval of that mean; NaN for fewer than two
            cases.
        margin: How much lower the mean may be.
        num_cases: Cases.
    """

    mean: Undefinable
    interval: tuple[Undefinable, Undefinable]
    margin: float
    num_cases: int

    @property
    def is_shown(self) -> bool:
        """Whether even the lower end of the interval is within the margin.

        Without an interval, nothing is shown.
        """
        return self.interval[0] >= -self.margin


@dataclass(frozen=True)
class ComparedRun:
    """A run among others.

    Args:
        run: Its name.
        architecture: Its network; empty if that is not known.
        value: Mean of the metric over the cases that are defined in all runs.
        num_cases: Number of these cases.
        parameters: Parameters of the network; None if that is not known.
        flops: FLOPs of its convolutions for 64 x 64 x 64 voxels; None if that is not known.
        on_parameter_front: Whether no run is better with as few parameters.
        on_flop_front: The same for FLOPs.
    """

    run: str
    architecture: str
    value: Undefinable
    num_cases: int
    parameters: int | None
    flops: int | None
    on_parameter_front: bool
    on_flop_front: bool


@dataclass(frozen=True)
class CompareResult:
    """A comparison of runs by one metric."""

    metric: str
    runs: tuple[ComparedRun, ...]
    differences: tuple[PairedDifference, ...]
