"""What a training reports and returns."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lunet_cli.results.evaluation import MetricSummary
from lunet_cli.results.events import Event
from lunet_cli.results.numbers import Undefinable
from lunet_cli.results.words import format_seconds, plural

# Pictures need numpy, and who only reads events should not wait for it.
if TYPE_CHECKING:
    from lunet_cli.results.views import Slice


@dataclass(frozen=True)
class VerificationStep(Event):
    """A step of the comparison with fp32, which comes before the training, is about to run.

    Args:
        name: What computes it.
        step: Its number, from 1, over both sides.
        num_steps: Steps of both sides.
    """

    name: str
    step: int
    num_steps: int

    def __str__(self) -> str:
        return f"verifying the precision: step {self.step} of {self.num_steps} in {self.name}"


@dataclass(frozen=True)
class PlanChosen(Event):
    """How the run computes.

    Args:
        name: Precision, memory layout, compilation and device in words.
        reason: Why.
        pins: Settings that choose the same on every machine; empty where nothing was open.
    """

    name: str
    reason: str
    pins: tuple[str, ...] = ()

    def __str__(self) -> str:
        told = f"computing in {self.name}: {self.reason}"
        if not self.pins:
            return told
        return f"{told} (to pin it: {' '.join(self.pins)})"


@dataclass(frozen=True)
class TrainingStarted(Event):
    """The first step is about to run.

    Args:
        conditions: What training has and validation has not, in words, such as `dropout`.
        is_averaged: Whether validation takes averaged weights instead of those of the last step.
    """

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
    conditions: tuple[str, ...] = ()
    is_averaged: bool = False

    def __str__(self) -> str:
        patch = " x ".join(map(str, self.patch_size))
        steps = plural(self.num_steps, "step")
        parts = [
            f"{self.architecture} ({self.num_parameters:,} parameters)",
            f"{self.num_train} training and {plural(self.num_val, 'validation case')}",
            f"labels {', '.join(self.labels)}",
            f"window {patch}",
            f"epochs {self.first_epoch} to {self.num_epochs} of {steps}",
            f"in {self.run_dir}",
        ]
        return ", ".join(parts)


@dataclass(frozen=True)
class StepDone(Event):
    """A training step ended; `loss` is the mean of the epoch so far."""

    epoch: int
    step: int
    num_steps: int
    loss: float
    learning_rate: float

    def __str__(self) -> str:
        step = f"epoch {self.epoch} step {self.step}/{self.num_steps}"
        return f"{step} loss {self.loss:.4f} lr {self.learning_rate:.2g}"


@dataclass(frozen=True)
class EpochRecord:
    """One line of the history; what validation gives is NaN in an epoch that had none."""

    epoch: int
    train_loss: Undefinable
    val_loss: Undefinable
    val_dice: Undefinable
    val_dice_per_label: dict[str, Undefinable]
    learning_rate: float
    epoch_seconds: float

    @property
    def is_validated(self) -> bool:
        """Whether the epoch was validated; a Dice that was measured is always a number."""
        return not math.isnan(self.val_dice)


def best_of(records: Iterable[EpochRecord | None]) -> EpochRecord | None:
    """The earliest record with the best validation Dice, of those with a finite validation loss."""
    best: EpochRecord | None = None
    for record in records:
        # A high Dice beside an infinite loss is that of a network which is about to diverge.
        if record is None or not math.isfinite(record.val_loss + record.val_dice):
            continue
        if best is None or record.val_dice > best.val_dice:
            best = record
    return best


@dataclass(frozen=True)
class EpochDone(Event):
    """An epoch was saved and, unless another is due for that, validated."""

    record: EpochRecord
    num_epochs: int
    is_best: bool
    seconds_left: float

    def __str__(self) -> str:
        r = self.record
        told = (
            f"epoch {r.epoch}/{self.num_epochs} train loss {r.train_loss:.4f} "
            f"{self._validation}lr {r.learning_rate:.2g} "
            f"{r.epoch_seconds:.1f} s, {format_seconds(self.seconds_left)} left"
        )
        if self.is_best:
            told += " *best"
        return told

    @property
    def _validation(self) -> str:
        """What validation has found, with a space behind it; empty where there was none."""
        r = self.record
        if not r.is_validated:
            return ""
        dice = f"{r.val_dice:.4f}"
        if len(r.val_dice_per_label) > 1:
            labels = " ".join(f"{name} {value:.4f}" for name, value in r.val_dice_per_label.items())
            dice += f" ({labels})"
        return f"val loss {r.val_loss:.4f} val Dice {dice} "


@dataclass(frozen=True)
class ChosenStep:
    """The step of a pruning whose network is the best model of its run.

    Args:
        step: Its number.
        num_steps: Steps that have ended, step 0 not among them.
        parameters: Parameters of its network.
        val_dice: Its mean Dice over the validation cases.
        epoch: The last one of its recovery, counted from 1; None where it had none.
    """

    step: int
    num_steps: int
    parameters: int
    val_dice: float
    epoch: int | None


@dataclass(frozen=True)
class TrainingHistory:
    """How a training went, or the trainings between the steps of a pruning.

    Args:
        name: The run.
        records: One per epoch.
        is_finished: Whether it has ended, and was not interrupted.
        chosen: The step that a pruning has chosen so far; None of a training.
    """

    name: str
    records: tuple[EpochRecord, ...]
    is_finished: bool
    chosen: ChosenStep | None = None

    @property
    def best(self) -> EpochRecord:
        """The epoch with the best validation Dice; the first epoch where none is sound."""
        return best_of(self.records) or self.records[0]

    @property
    def of_best_model(self) -> EpochRecord | None:
        """The epoch that the best model of the run is from; None where no epoch has led to it."""
        if self.chosen is None:
            return best_of(self.records)
        for record in self.records:
            if record.epoch == self.chosen.epoch:
                return record
        return None

    @property
    def mark(self) -> str:
        """What the best model is from, in words."""
        if self.chosen is None:
            return "best epoch"
        return "chosen step"


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
        one_pass_dice: Validation Dice of the best model in one pass; None where that is the same as
            in windows, or cannot be.
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
    one_pass_dice: float | None = None
    slices: tuple[Slice, ...] = ()


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
