"""What jobs report while they run and return at the end; `str(event)` is its plain line in logs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True)
class Event:
    """Something that happened while a job ran."""


@dataclass(frozen=True)
class Notice(Event):
    """A decision or a finding worth reading."""

    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Caution(Event):
    """Something that did not work and does not stop the job."""

    text: str

    def __str__(self) -> str:
        return f"warning: {self.text}"


@dataclass(frozen=True)
class CaseRead(Event):
    """A case was read and checked."""

    num_done: int
    num_cases: int

    def __str__(self) -> str:
        return f"read {self.num_done} of {self.num_cases} cases"


@dataclass(frozen=True)
class Trial:
    """One way to compute, tried for a few steps.

    Args:
        name: Precision, memory layout and compilation in words.
        step_ms: Median time of a training step.
        agrees: Whether its losses follow those of fp32.
    """

    name: str
    step_ms: float
    agrees: bool


@dataclass(frozen=True)
class PlanChosen(Event):
    """How the run computes, and what else was tried."""

    name: str
    trials: tuple[Trial, ...]

    def __str__(self) -> str:
        if not self.trials:
            return f"computing in {self.name}"
        tried = ", ".join(
            f"{t.name} {t.step_ms:.0f} ms" + ("" if t.agrees else " (disagrees with fp32)") for t in self.trials
        )
        return f"computing in {self.name}, the fastest that agrees with fp32 ({tried} per step)"


@dataclass(frozen=True)
class TrainingStarted(Event):
    """The first step is about to run."""

    run_dir: Path
    architecture: str
    num_parameters: int
    num_train: int
    num_val: int
    labels: tuple[str, ...]
    first_epoch: int
    num_epochs: int
    num_steps: int
    patch_size: tuple[int, int, int]

    def __str__(self) -> str:
        patch = " x ".join(map(str, self.patch_size))
        return (
            f"{self.architecture} ({self.num_parameters:,} parameters), {self.num_train} training and {self.num_val} "
            f"validation cases, labels {', '.join(self.labels)}, window {patch}, epochs {self.first_epoch} to "
            f"{self.num_epochs} of {self.num_steps} steps, in {self.run_dir}"
        )


@dataclass(frozen=True)
class StepDone(Event):
    """A training step ended; `loss` is the mean of the epoch so far."""

    epoch: int
    step: int
    num_steps: int
    loss: float
    learning_rate: float

    def __str__(self) -> str:
        return f"epoch {self.epoch} step {self.step}/{self.num_steps} loss {self.loss:.4f} lr {self.learning_rate:.2g}"


@dataclass(frozen=True)
class EpochRecord:
    """One line of the history."""

    epoch: int
    train_loss: float
    val_loss: float
    val_dice: float
    val_dice_per_label: dict[str, float]
    learning_rate: float
    epoch_seconds: float


@dataclass(frozen=True)
class EpochDone(Event):
    """An epoch was validated and saved."""

    record: EpochRecord
    num_epochs: int
    is_best: bool
    seconds_left: float

    def __str__(self) -> str:
        r = self.record
        labels = " ".join(f"{name} {value:.4f}" for name, value in r.val_dice_per_label.items())
        detail = f" ({labels})" if len(r.val_dice_per_label) > 1 else ""
        return (
            f"epoch {r.epoch}/{self.num_epochs} train loss {r.train_loss:.4f} val loss {r.val_loss:.4f} "
            f"val Dice {r.val_dice:.4f}{detail} lr {r.learning_rate:.2g} {r.epoch_seconds:.1f} s, "
            f"{format_seconds(self.seconds_left)} left{' *best' if self.is_best else ''}"
        )


@dataclass(frozen=True)
class SlicePicture:
    """A slice of a validation case.

    Args:
        case_id: The case.
        position: Index of the slice along its axis.
        image: Intensities (H, W), 0 to 1.
        reference: Index of the label per pixel (H, W), 0 for background.
        prediction: The same for the prediction.
        aspect: Height of a pixel divided by its width, in the patient.
    """

    case_id: str
    position: int
    image: npt.NDArray[np.float32]
    reference: npt.NDArray[np.uint8]
    prediction: npt.NDArray[np.uint8]
    aspect: float


@dataclass(frozen=True)
class MetricSummary:
    """A metric of one label over cases.

    Args:
        label: The label, or `mean of labels` for that of each case.
        metric: Its key in `config.metrics.METRICS`.
        mean: Mean over the cases where it is defined; NaN if there is none, and so for all that follow.
        sd: Standard deviation over cases (n - 1); NaN for fewer than two.
        median: Median over cases.
        interval: 95 % percentile bootstrap confidence interval of the mean; NaN for fewer than two cases.
        num_cases: Cases that count in the mean.
        num_undefined: Cases where it is undefined, because one of prediction and reference is empty; they do not count,
            or with a penalty.
        worst: The cases with the worst values, undefined ones first.
    """

    label: str
    metric: str
    mean: float
    sd: float
    median: float
    interval: tuple[float, float]
    num_cases: int
    num_undefined: int
    worst: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class TrainResult:
    """What a training ended with.

    Args:
        outcome: `finished`, `stopped early`, or `interrupted` (its state is saved).
        signal: Number of the signal that interrupted; 0 otherwise.
        history: One record per epoch.
        best: The record with the best validation Dice; None before the first epoch has ended.
        metrics: What the configuration asks for beyond Dice, per label.
        latency_ms: Median forward time, if the configuration asks for it.
        slices: Pictures, if the configuration asks for them.
    """

    run_dir: Path
    outcome: Literal["finished", "stopped early", "interrupted"]
    architecture: str
    num_parameters: int
    history: tuple[EpochRecord, ...]
    best: EpochRecord | None
    seconds: float
    signal: int = 0
    metrics: tuple[MetricSummary, ...] = ()
    latency_ms: float | None = None
    slices: tuple[SlicePicture, ...] = ()


@dataclass(frozen=True)
class DryRunResult:
    """What a training would cost.

    Args:
        activation_mib: Memory of the values that one step keeps for the backward pass.
        total_mib: Weights, gradients, optimiser state and activations together.
        cache_mib: Memory of all volumes, if they are kept there.
        epoch_seconds: Estimated time of an epoch, validation included.
    """

    architecture: str
    num_parameters: int
    plan: str
    num_train: int
    num_val: int
    patch_size: tuple[int, int, int]
    batch_size: int
    loss: float
    activation_mib: float
    total_mib: float
    cache_mib: float
    epoch_seconds: float
    num_epochs: int


@dataclass(frozen=True)
class CaseFailed(Event):
    """A case could not be used; the others go on.

    Args:
        case: Its name or path.
        message: What was wrong and where.
        hint: What to do about it; may be empty.
    """

    case: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        return f"error: {self.message}" + (f" ({self.hint})" if self.hint else "")


@dataclass(frozen=True)
class PredictionStarted(Event):
    """The first window is about to run."""

    num_cases: int
    num_windows: int
    plan: str

    def __str__(self) -> str:
        cases = "1 case" if self.num_cases == 1 else f"{self.num_cases} cases"
        return f"{cases}, {self.num_windows:,} windows, computing in {self.plan}"


@dataclass(frozen=True)
class WindowDone(Event):
    """Windows went through the network, of all those of all cases."""

    num_done: int
    num_windows: int
    case: str

    def __str__(self) -> str:
        return f"{self.case}: {self.num_done} of {self.num_windows} windows"


@dataclass(frozen=True)
class CasePredicted(Event):
    """A case was segmented and its file written.

    Args:
        case: Its name.
        output: The label map.
        volume_ml: Volume of each label, with what other labels cover of it.
        seconds: From reading to writing.
        num_done: Cases finished so far.
        num_cases: Cases of this command.
        seconds_left: Estimated time for the rest.
    """

    case: str
    output: Path
    volume_ml: dict[str, float]
    seconds: float
    num_done: int
    num_cases: int
    seconds_left: float

    def __str__(self) -> str:
        volumes = ", ".join(f"{name} {volume:.2f} ml" for name, volume in self.volume_ml.items())
        return (
            f"{self.num_done}/{self.num_cases} {self.output}: {volumes}, {self.seconds:.1f} s, "
            f"{format_seconds(self.seconds_left)} left"
        )


@dataclass(frozen=True)
class PlannedCase:
    """What a prediction would take.

    Args:
        case: Its name.
        output: Where the label map would be written.
        size: Voxels (D, H, W) as stored.
        grid: Voxels (D, H, W) that the network works on.
        window: Voxels (D, H, W) of a window.
        num_windows: Windows.
        memory_mib: Estimated peak of the process.
        seconds: Estimated time in the network, in a dry run.
    """

    case: str
    output: Path
    size: tuple[int, int, int]
    grid: tuple[int, int, int]
    window: tuple[int, int, int]
    num_windows: int
    memory_mib: float
    seconds: float | None = None


@dataclass(frozen=True)
class PredictResult:
    """What a prediction ended with.

    Args:
        planned: What was to do; of a dry run, this is all.
        predicted: Cases that were segmented.
        skipped: Label maps that were there already.
        failures: Cases that could not be used.
        plan: How it was computed.
        values: Label value that stands for each label.
    """

    planned: tuple[PlannedCase, ...]
    predicted: tuple[CasePredicted, ...]
    skipped: tuple[Path, ...]
    failures: tuple[CaseFailed, ...]
    plan: str
    values: dict[str, int]


@dataclass(frozen=True)
class CaseScored(Event):
    """A case was measured."""

    case: str
    mean_dice: float | None
    num_done: int
    num_cases: int

    def __str__(self) -> str:
        dice = "" if self.mean_dice is None else f": mean Dice {self.mean_dice:.4f}"
        return f"{self.num_done}/{self.num_cases} {self.case}{dice}"


@dataclass(frozen=True)
class CaseScore:
    """One label of one case.

    Args:
        case: The case.
        label: The label.
        values: Value of each metric, by its key in `config.metrics.METRICS`; NaN or a penalty where it is undefined.
        undefined: Metrics that are undefined.
        prediction_ml: Volume of the prediction.
        reference_ml: Volume of the reference.
    """

    case: str
    label: str
    values: dict[str, float]
    prediction_ml: float
    reference_ml: float
    undefined: tuple[str, ...] = ()


@dataclass(frozen=True)
class EvalResult:
    """What an evaluation found.

    Args:
        title: What was evaluated, in words.
        scores: A row per case and label.
        summaries: A row per label and metric, and for the mean of labels where there are several.
        failures: Cases that could not be used.
        facts: What is needed to understand and repeat it: model, data, versions, definitions.
        folder: Where `metrics.csv` and `summary.json` are.
    """

    title: str
    scores: tuple[CaseScore, ...]
    summaries: tuple[MetricSummary, ...]
    failures: tuple[CaseFailed, ...]
    facts: dict[str, Any]
    folder: Path


@dataclass(frozen=True)
class PairedDifference:
    """How a run differs from the first one on the same cases.

    Args:
        run: The run.
        label: The label, or `mean of labels`.
        mean: Mean of the differences, this run minus the first.
        interval: 95 % percentile bootstrap confidence interval of that mean.
        p_value: Wilcoxon signed-rank test, two-sided, after Holm over all runs of this label; 1 where no case differs.
        num_cases: Cases that count.
        num_left_out: Cases that only one run has, or whose value is undefined in one.
    """

    run: str
    label: str
    mean: float
    interval: tuple[float, float]
    p_value: float
    num_cases: int
    num_left_out: int


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
    value: float
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


def format_seconds(seconds: float) -> str:
    """A duration as people say it: `42 s`, `3 min 05 s`, `2 h 10 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
