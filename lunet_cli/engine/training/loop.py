"""One training epoch and one validation."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from lunet_cli.config.training import TrainingConfig
from lunet_cli.engine.data.labels import LabelScheme
from lunet_cli.engine.data.patches import Batch, EpochSampler, Failure, batches
from lunet_cli.engine.data.store import CaseStore
from lunet_cli.engine.evaluation.overlap import dice
from lunet_cli.engine.inference.sliding_window import ArrayInput, predict_logits
from lunet_cli.engine.networks.blocks import SegmentationNetwork
from lunet_cli.engine.networks.execution import ExecutionPlan, evaluating
from lunet_cli.engine.training.interrupts import InterruptGuard
from lunet_cli.engine.training.losses import Loss
from lunet_cli.engine.training.optimization import average_decay, learning_rate_at, update_average
from lunet_cli.engine.training.state import DIVERGED, TrainState
from lunet_cli.errors import TrainingError
from lunet_cli.results.training import StepDone


@dataclass(frozen=True)
class StepContext:
    """What stays the same from step to step.

    Args:
        config: The section `training`.
        plan: How to compute.
        scheme: The labels.
        loss: The loss.
        window: Voxels (D, H, W) of a patch and of a validation window.
    """

    config: TrainingConfig
    plan: ExecutionPlan
    scheme: LabelScheme
    loss: Loss
    window: tuple[int, int, int]


@dataclass(frozen=True)
class Validation:
    """What validation found.

    Args:
        loss: Mean loss over cases.
        dice_per_label: Mean Dice over cases, per label.
    """

    loss: float
    dice_per_label: dict[str, float]

    @property
    def mean_dice(self) -> float:
        """Mean over labels."""
        return float(np.mean(list(self.dice_per_label.values())))


def train_epoch(
    state: TrainState,
    forward: Callable[[Tensor], Tensor],
    loader: DataLoader[Batch | Failure],
    sampler: EpochSampler,
    context: StepContext,
    guard: InterruptGuard,
    on_step: Callable[[StepDone], None],
) -> None:
    """Run the steps of the current epoch that are still to do; `state` counts them.

    Raises:
        InterruptRequested: Between two steps, on a signal.
        TrainingError: The loss is no longer finite.
        DataError: A case could not be read.
    """
    config, num_steps = context.config, len(sampler)
    sampler.epoch, sampler.first_step = state.epoch, state.step
    state.network.train()
    for image, label in batches(loader):
        # The middle of the step: neither the first step of a warm-up nor the last of a decay has a
        # rate of zero.
        learning_rate = learning_rate_at(config, state.epoch + (state.step + 0.5) / num_steps)
        loss = train_step(state, forward, image, label, context, learning_rate)
        state.step += 1
        state.loss_sum += loss
        if state.average is not None and config.ema_decay is not None:
            decay = average_decay(config.ema_decay, state.epoch * num_steps + state.step)
            update_average(state.average, state.network, decay)
        on_step(
            StepDone(
                state.epoch + 1, state.step, num_steps, state.loss_sum / state.step, learning_rate
            )
        )
        guard.check()


def train_step(
    state: TrainState,
    forward: Callable[[Tensor], Tensor],
    image: Tensor,
    label: Tensor,
    context: StepContext,
    learning_rate: float,
) -> float:
    """Update the weights once and return the loss."""
    config, plan = context.config, context.plan
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate
    target = context.scheme.encode(label.to(plan.device, non_blocking=True))
    with plan.autocast():
        logits = forward(plan.place_image(image))
    loss = context.loss(logits, target)
    value = float(loss.detach())
    if not math.isfinite(value):
        raise TrainingError(
            f"the loss became {value} in epoch {state.epoch + 1}, step {state.step + 1}; the last good state is kept",
            hint=DIVERGED,
        )
    state.optimizer.zero_grad()
    state.scaler.scale(loss).backward()
    if config.gradient_clip is not None:
        state.scaler.unscale_(state.optimizer)
        torch.nn.utils.clip_grad_norm_(state.network.parameters(), config.gradient_clip)
    state.scaler.step(state.optimizer)
    state.scaler.update()
    return value


def validate(
    network: SegmentationNetwork, store: CaseStore, context: StepContext, guard: InterruptGuard
) -> Validation:
    """Measure loss and Dice of every case of `store`.

    Raises:
        InterruptRequested: Between two cases, on a signal.
    """
    losses: list[float] = []
    scores: list[list[float]] = []
    for label, logits in predict_cases(network, store, context):
        target = context.scheme.encode(label[None].to(logits.device))
        losses.append(float(context.loss(logits[None], target)))
        prediction = context.scheme.decode(logits[None])[0].cpu().numpy()
        reference = context.scheme.masks(label[None])[0].numpy()
        scores.append([dice(p, r) for p, r in zip(prediction, reference, strict=True)])
        guard.check()
    means = np.mean(scores, axis=0).tolist()
    return Validation(float(np.mean(losses)), dict(zip(context.scheme.names, means, strict=True)))


def predict_cases(
    network: SegmentationNetwork, store: CaseStore, context: StepContext
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the label map (D, H, W) and the logits (K, D, H, W) of every case, in order."""
    plan = context.plan

    def forward(image: Tensor) -> Tensor:
        with plan.autocast():
            logits: Tensor = network(plan.place_image(image))
        return logits

    images = (ArrayInput(store[i].image) for i in range(len(store)))
    with torch.no_grad(), evaluating(network):
        logits_of_cases = predict_logits(
            forward, images, window=context.window, batch_size=context.config.batch_size
        )
        for index, logits in enumerate(logits_of_cases):
            yield torch.from_numpy(store[index].label.astype(np.int32)), logits
