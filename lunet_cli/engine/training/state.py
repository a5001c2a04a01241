"""Everything that changes while a network trains, and its exact saving and restoring."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from lunet_cli.config.training import TrainingConfig
from lunet_cli.engine.networks.blocks import SegmentationNetwork
from lunet_cli.engine.networks.execution import ExecutionPlan
from lunet_cli.engine.training.optimization import make_optimizer
from lunet_cli.errors import TrainingError
from lunet_cli.results.training import EpochRecord

DIVERGED = (
    "Lower training.learning_rate, set training.gradient_clip=1, or set training.precision=fp32."
)


@dataclass
class TrainState:
    """The moving parts of a training.

    Args:
        network: The network, placed on its device.
        optimizer: Its optimiser.
        scaler: Scales the loss in fp16; passes it on otherwise.
        average: Averaged weights; None where no average is kept.
        epoch: Finished epochs.
        step: Finished steps of the running epoch.
        loss_sum: Sum of the losses of these steps.
        seconds: Time spent in the running epoch before it was interrupted.
        history: One record per finished epoch.
        best: The earliest record with the best validation Dice whose model is kept.
    """

    network: SegmentationNetwork
    optimizer: Optimizer
    scaler: torch.amp.GradScaler
    average: dict[str, Tensor] | None
    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    seconds: float = 0.0
    history: list[EpochRecord] = field(default_factory=list)
    best: EpochRecord | None = None

    @classmethod
    def fresh(
        cls, network: SegmentationNetwork, config: TrainingConfig, plan: ExecutionPlan
    ) -> TrainState:
        """The state before the first step."""
        placed = plan.place(network)
        average = copy.deepcopy(placed.state_dict()) if config.ema_decay is not None else None
        scaler = torch.amp.GradScaler(plan.device, enabled=plan.precision == "fp16")
        return cls(placed, make_optimizer(config, placed.parameters()), scaler, average)

    @property
    def best_weights_source(self) -> dict[str, Tensor]:
        """The weights that validate and become the best model."""
        return self.network.state_dict() if self.average is None else self.average

    def require_finite(self) -> None:
        """Raise if a weight or statistic is not finite; none of them ever becomes finite again.

        Raises:
            TrainingError: It is so.
        """
        sources = [self.network.state_dict(), self.average or {}]
        if not all(bool(value.isfinite().all()) for source in sources for value in source.values()):
            raise TrainingError(
                f"weights or statistics of the network are no longer finite in epoch {self.epoch + 1}; the last good "
                "state is kept",
                hint=DIVERGED,
            )

    def finish_epoch(self, record: EpochRecord) -> bool:
        """Count the running epoch as finished; return whether it is the best so far."""
        self.history.append(record)
        self.epoch, self.step, self.loss_sum, self.seconds = record.epoch, 0, 0.0, 0.0
        previous, self.best = self.best, best_of([self.best, record])
        return self.best is not previous

    def to_dict(self) -> dict[str, Any]:
        """Tensors and plain values for a checkpoint, without the network's own weights."""
        device = next(self.network.parameters()).device
        return {
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "average": self.average,
            "step": self.step,
            "loss_sum": self.loss_sum,
            "seconds": self.seconds,
            "history": _pack_history(self.history),
            "rng": torch.get_rng_state(),
            "rng_cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        }

    def restore(self, weights: dict[str, Tensor], epoch: int, values: dict[str, Any]) -> None:
        """Bring back a saved state; raises KeyError, ValueError or RuntimeError if it does not fit."""
        self.network.load_state_dict(weights)
        self.optimizer.load_state_dict(values["optimizer"])
        if values["scaler"]:
            self.scaler.load_state_dict(values["scaler"])
        if self.average is not None and values["average"] is not None:
            for name, value in values["average"].items():
                self.average[name].copy_(value)
        elif self.average is not None:
            self.average = copy.deepcopy(self.network.state_dict())
        self.epoch, self.step = epoch, values["step"]
        self.loss_sum, self.seconds = values["loss_sum"], values["seconds"]
        self.history = _unpack_history(values["history"])
        self.best = best_of(self.history)
        torch.set_rng_state(values["rng"])
        device = next(self.network.parameters()).device
        if device.type == "cuda" and values["rng_cuda"] is not None:
            torch.cuda.set_rng_state(values["rng_cuda"], device)


def best_of(records: Iterable[EpochRecord | None]) -> EpochRecord | None:
    """The earliest record with the best validation Dice, of those with a finite validation loss."""
    best: EpochRecord | None = None
    for record in records:
        if record is None or not math.isfinite(record.val_loss):
            continue
        if best is None or record.val_dice > best.val_dice:
            best = record
    return best


def _pack_history(records: Sequence[EpochRecord]) -> dict[str, Any]:
    """One tensor for all epochs: 10,000 of them are written every epoch."""
    labels = list(records[0].val_dice_per_label) if records else []
    rows = [[*_numbers(record), *record.val_dice_per_label.values()] for record in records]
    return {"labels": labels, "rows": torch.tensor(rows, dtype=torch.float64)}


def _numbers(record: EpochRecord) -> list[float]:
    return [
        record.epoch,
        record.train_loss,
        record.val_loss,
        record.val_dice,
        record.learning_rate,
        record.epoch_seconds,
    ]


def _unpack_history(values: dict[str, Any]) -> list[EpochRecord]:
    labels = values["labels"]
    records = []
    for epoch, train_loss, val_loss, val_dice, learning_rate, seconds, *dice in values[
        "rows"
    ].tolist():
        per_label = dict(zip(labels, dice, strict=True))
        records.append(
            EpochRecord(
                int(epoch), train_loss, val_loss, val_dice, per_label, learning_rate, seconds
            )
        )
    return records
