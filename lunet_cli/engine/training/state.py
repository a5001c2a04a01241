"""Everything that changes while a network trains, and its exact saving and restoring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict, cast

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from lunet_cli.config.training import TrainingConfig
from lunet_cli.engine.networks.blocks import SegmentationNetwork
from lunet_cli.engine.networks.execution import ExecutionPlan
from lunet_cli.engine.training.optimization import (
    make_average,
    make_optimizer,
    set_num_updates,
)
from lunet_cli.engine.training.supervision import SupervisedNetwork
from lunet_cli.errors import TrainingError
from lunet_cli.results.training import EpochRecord, best_of

DIVERGED = (
    "Lower training.learning_rate, or set `training.gradient_clip=1` or `training.precision=fp32`."
)


class PackedHistory(TypedDict):
    """A history as it lies in a checkpoint; `rows` is float64, an epoch each."""

    labels: list[str]
    rows: Tensor


@dataclass(kw_only=True)
class TrainState:
    """Everything that changes while a network trains.

    Args:
        learner: The network, placed on its device, with the heads that only the training has.
        optimizer: Its optimiser.
        scaler: Scales the loss in fp16; passes it on otherwise.
        average: A network of averaged weights; None where no average is kept.
        epoch: Finished epochs.
        step: Finished steps of the running epoch.
        loss_sum: Sum of the losses of these steps.
        seconds: Time spent in the running epoch before it was interrupted.
        history: One record per finished epoch.
        best: The earliest record with the best validation Dice whose model is kept.
    """

    learner: SupervisedNetwork
    optimizer: Optimizer
    scaler: torch.amp.GradScaler
    average: AveragedModel | None
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
        learner = SupervisedNetwork(placed, is_deep=config.deep_supervision)
        average = None
        if config.ema_decay is not None:
            average = make_average(placed, config.ema_decay)
        return cls(
            learner=learner,
            optimizer=make_optimizer(config, learner.parameters()),
            # bf16 has the exponents of fp32, so that no gradient of it becomes zero unscaled.
            scaler=torch.amp.GradScaler(plan.device, enabled=plan.precision == "fp16"),
            average=average,
        )

    def begin_again(
        self, network: SegmentationNetwork, config: TrainingConfig, plan: ExecutionPlan
    ) -> TrainState:
        """Another network with a fresh optimiser and average, after the same epochs."""
        state = TrainState.fresh(network, config, plan)
        state.epoch, state.history, state.best = self.epoch, [*self.history], self.best
        return state

    @property
    def network(self) -> SegmentationNetwork:
        """The network, without the heads that only the training has."""
        return self.learner.network

    @property
    def validated_network(self) -> SegmentationNetwork:
        """The network that validates, and whose weights become the best model."""
        if self.average is None:
            return self.network
        return cast("SegmentationNetwork", self.average.module)

    def require_finite(self) -> None:
        """Raise if a weight or statistic is not finite; none of them ever becomes finite again.

        Raises:
            TrainingError: It is so.
        """
        values = [*self.learner.state_dict().values()]
        values += self.validated_network.state_dict().values()
        if not all(bool(value.isfinite().all()) for value in values):
            raise TrainingError(
                "weights or statistics of the network are no longer finite in epoch "
                f"{self.epoch + 1}; the last good state is kept",
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
        average = rng_cuda = None
        if self.average is not None:
            average = self.average.module.state_dict()
        if device.type == "cuda":
            rng_cuda = torch.cuda.get_rng_state(device)
        return {
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "average": average,
            "heads": self.learner.heads.state_dict(),
            "step": self.step,
            "loss_sum": self.loss_sum,
            "seconds": self.seconds,
            "history": _pack_history(self.history),
            "rng": torch.get_rng_state(),
            "rng_cuda": rng_cuda,
        }

    def restore(
        self,
        weights: dict[str, Tensor],
        epoch: int,
        values: dict[str, Any],
        *,
        num_steps: int,
        averaged_since: int = 0,
    ) -> None:
        """Bring back a saved state.

        Args:
            weights: Those of the network.
            epoch: Epochs that they have seen.
            values: What `to_dict` has given, as `load_checkpoint` has checked it.
            num_steps: Steps of an epoch.
            averaged_since: Epochs that were done when the average was begun.

        Raises:
            RuntimeError: PyTorch does not take the state of a random generator.
        """
        self.network.load_state_dict(weights)
        self.learner.heads.load_state_dict(values["heads"])
        self.optimizer.load_state_dict(values["optimizer"])
        if values["scaler"]:
            self.scaler.load_state_dict(values["scaler"])
        self.epoch, self.step = epoch, values["step"]
        self.loss_sum, self.seconds = values["loss_sum"], values["seconds"]
        self.history = _unpack_history(values["history"])
        self.best = best_of(self.history)
        if self.average is not None:
            # A run may begin to average when it is resumed; then it begins with what there is.
            average = weights if values["average"] is None else values["average"]
            self.average.module.load_state_dict(average)
            num_updates = (epoch - averaged_since) * num_steps + self.step
            set_num_updates(self.average, num_updates)
        torch.set_rng_state(values["rng"])
        device = next(self.network.parameters()).device
        if device.type == "cuda" and values["rng_cuda"] is not None:
            torch.cuda.set_rng_state(values["rng_cuda"], device)


def _pack_history(records: Sequence[EpochRecord]) -> PackedHistory:
    labels: list[str] = []
    rows = []
    for record in records:
        labels = list(record.val_dice_per_label)
        rows.append(
            [
                record.epoch,
                record.train_loss,
                record.val_loss,
                record.val_dice,
                record.learning_rate,
                record.epoch_seconds,
                *record.val_dice_per_label.values(),
            ]
        )
    # One tensor for all epochs: 10,000 of them are written every epoch.
    return {"labels": labels, "rows": torch.tensor(rows, dtype=torch.float64)}


def _unpack_history(values: PackedHistory) -> list[EpochRecord]:
    records = []
    for row in values["rows"].tolist():
        epoch, train_loss, val_loss, val_dice, learning_rate, seconds, *dice = row
        record = EpochRecord(
            epoch=int(epoch),
            train_loss=train_loss,
            val_loss=val_loss,
            val_dice=val_dice,
            val_dice_per_label=dict(zip(values["labels"], dice, strict=True)),
            learning_rate=learning_rate,
            epoch_seconds=seconds,
        )
        records.append(record)
    return records
