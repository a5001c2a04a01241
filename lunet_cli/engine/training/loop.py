"""One training epoch and one validation."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from lunet_cli.engine.data.labels import LabelScheme
from lunet_cli.engine.data.patches import Batch, batches
from lunet_cli.engine.evaluation.overlap import dice
from lunet_cli.engine.inference.sliding_window import ArrayInput, predict_logits
from lunet_cli.engine.networks.blocks import SegmentationNetwork
from lunet_cli.engine.networks.execution import evaluating
from lunet_cli.engine.process_group import ProcessGroup, ProcessLost
from lunet_cli.engine.training.context import StepContext
from lunet_cli.engine.training.gradients import Gradients
from lunet_cli.engine.training.interrupts import InterruptGuard
from lunet_cli.engine.training.state import DIVERGED, TrainState
from lunet_cli.errors import TrainingError
from lunet_cli.results.training import EpochRecord, StepDone


@dataclass(frozen=True)
class Validation:
    """What validation found.

    Args:
        loss: Mean loss over cases.
        dice_per_case: Dice of each label of each case.
    """

    loss: float
    dice_per_case: dict[str, dict[str, float]]

    @property
    def dice_per_label(self) -> dict[str, float]:
        """Mean over cases, per label."""
        cases = list(self.dice_per_case.values())
        means = np.mean([list(case.values()) for case in cases], axis=0).tolist()
        return dict(zip(cases[0], means, strict=True))

    @property
    def mean_dice_per_case(self) -> dict[str, float]:
        """Mean over labels, per case."""
        means = {}
        for case, dice_per_label in self.dice_per_case.items():
            means[case] = float(np.mean(list(dice_per_label.values())))
        return means

    @property
    def mean_dice(self) -> float:
        """Mean over cases and labels."""
        return float(np.mean(list(self.dice_per_label.values())))


def train_epoch(
    state: TrainState,
    gradients: Gradients,
    context: StepContext,
    guard: InterruptGuard,
    on_step: Callable[[StepDone], None],
) -> None:
    """Run the steps of the current epoch that are still to do; `state` counts them.

    Args:
        state: What changes.
        gradients: How those of `state.learner` are computed.
        context: What is fixed.
        guard: Tells of signals.
        on_step: Called after each step.

    Raises:
        InterruptRequested: Between two steps, on a signal.
        TrainingError: The loss is no longer finite.
        DataError: A case could not be read.
    """
    sampler = context.setup.sampler
    num_steps = sampler.num_steps
    sampler.epoch, sampler.first_step = state.epoch, state.step
    state.network.train()
    stream = batches(context.setup.loader)
    while parts := list(islice(stream, context.config.accumulate_batches)):
        _seed_own_draws(state, context)
        # The middle of the step: neither the first step of a warm-up nor the last of a decay has a
        # rate of zero.
        learning_rate = context.learning_rate(state.epoch + (state.step + 0.5) / num_steps)
        with _whole_steps(state.network, context.group):
            loss = train_step(state, gradients, parts, context, learning_rate)
        state.step += 1
        state.loss_sum += loss
        if state.average is not None:
            state.average.update_parameters(state.network)
        mean_loss = state.loss_sum / state.step
        on_step(StepDone(state.epoch + 1, state.step, num_steps, mean_loss, learning_rate))
        guard.check()


@contextlib.contextmanager
def _whole_steps(network: SegmentationNetwork, group: ProcessGroup) -> Iterator[None]:
    """Within the block, a step that another process does not finish leaves nothing behind."""
    if group.size == 1:
        yield
        return
    buffers = list(network.buffers())
    kept = [buffer.clone() for buffer in buffers]
    try:
        with group.told_of_peers():
            yield
    except ProcessLost:
        for buffer, value in zip(buffers, kept, strict=True):
            buffer.copy_(value)
        raise


def _seed_own_draws(state: TrainState, context: StepContext) -> None:
    """Let each of several processes draw its own dropout, whatever any of them drew before."""
    if context.group.size > 1:
        numbers = (context.setup.config.experiment.seed, state.epoch, state.step)
        draws = np.random.SeedSequence([*numbers, context.group.rank])
        torch.manual_seed(int(draws.generate_state(1, np.uint64)[0] >> 1))


def train_step(
    state: TrainState,
    gradients: Gradients,
    parts: Sequence[Batch],
    context: StepContext,
    learning_rate: float,
) -> float:
    """Update the weights once and return the loss.

    Args:
        state: What changes.
        gradients: How those of `state.learner` are computed.
        parts: Batches; the gradients of all of them are added up.
        context: What is fixed.
        learning_rate: That of this step.

    Raises:
        TrainingError: The loss is not finite; nothing has been changed.
    """
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate
    gradients.clear()
    sizes, mean_loss = [len(part.image) for part in parts], 0.0
    if context.group.size > 1:
        # Of all processes: this one has a part of each batch, or a patch that stands in for none.
        sampler = context.setup.sampler
        sizes = sampler.num_patches(state.step)
        own = map(sampler.num_own, sizes)
        parts = [_first(n, part) for n, part in zip(own, parts, strict=True)]
    for index, part in enumerate(parts):
        with gradients.sharing(now=index == len(parts) - 1):
            value = gradients.add(part, share=sizes[index] / sum(sizes))
        if not math.isfinite(value):
            raise TrainingError(
                f"the loss became {value} in epoch {state.epoch + 1}, step {state.step + 1}; "
                "the last good state is kept",
                hint=DIVERGED,
            )
        mean_loss += value
    gradient_clip = context.config.gradient_clip
    if gradient_clip is not None:
        # The limit is that of gradients, not of those that the scaler has multiplied:
        # https://docs.pytorch.org/docs/stable/notes/amp_examples.html#gradient-clipping
        state.scaler.unscale_(state.optimizer)
        torch.nn.utils.clip_grad_norm_(state.learner.parameters(), gradient_clip)
    state.scaler.step(state.optimizer)
    state.scaler.update()
    return mean_loss


def _first(number: int, batch: Batch) -> Batch:
    """The first patches of a batch."""
    soft = None if batch.soft is None else batch.soft[:number]
    return Batch(batch.image[:number], batch.label[:number], soft)


def validate(
    network: SegmentationNetwork, context: StepContext, guard: InterruptGuard
) -> Validation:
    """Measure loss and Dice of every validation case.

    Raises:
        InterruptRequested: Between two cases, on a signal.
        TrainingError: Another process of the training has ended.
    """
    group, cases = context.group, context.setup.val.cases
    group.share_buffers(network)
    own = range(group.rank, len(cases), group.size)
    found: dict[int, tuple[float, dict[str, float]]] = {}
    for index, measured in zip(own, _measure_cases(network, context, own), strict=True):
        found[index] = measured
        if guard.signal:
            break
    everything: dict[int, tuple[float, dict[str, float]]] = {}
    for of_process in group.gathered(found):
        everything |= of_process
    guard.check()
    ordered = sorted(everything.items())
    losses = [loss for _, (loss, _) in ordered]
    scores = {cases[index].case_id: dice_per_label for index, (_, dice_per_label) in ordered}
    return Validation(float(np.mean(losses)), scores)


def _measure_cases(
    network: SegmentationNetwork, context: StepContext, indices: range
) -> Iterator[tuple[float, dict[str, float]]]:
    """Yield the loss and the Dice per label of validation cases."""
    labels = context.labels
    for label, logits in predict_cases(network, context, indices):
        batch = label[None].to(logits.device)
        loss = context.setup.loss(logits[None], labels.encode(batch), labels.known(batch))
        prediction, reference = masks_of(label, logits, labels)
        values = map(dice, prediction, reference)
        yield float(loss), dict(zip(labels.names, values, strict=True))


def epoch_record(
    state: TrainState, validation: Validation | None, names: Sequence[str], seconds: float
) -> EpochRecord:
    """The line of an epoch whose steps are done.

    Args:
        state: What changes; it still counts the epoch as running.
        validation: What was found after it; None where it was not looked for.
        names: Those of the labels.
        seconds: What the epoch has taken since it was begun, or gone on with.
    """
    if validation is None:
        validation = Validation(math.nan, {"": dict.fromkeys(names, math.nan)})
    return EpochRecord(
        epoch=state.epoch + 1,
        train_loss=state.loss_sum / state.step,
        val_loss=validation.loss,
        val_dice=validation.mean_dice,
        val_dice_per_label=validation.dice_per_label,
        learning_rate=state.optimizer.param_groups[0]["lr"],
        epoch_seconds=state.seconds + seconds,
    )


def masks_of(label: Tensor, logits: Tensor, labels: LabelScheme) -> tuple[np.ndarray, np.ndarray]:
    """Prediction and reference as masks (regions, D, H, W), bool, as every metric takes them.

    Nothing is predicted where nobody has said what is there.

    Args:
        label: Label map (D, H, W).
        logits: (K, D, H, W).
        labels: The meaning of the channels.
    """
    prediction = labels.decode(logits[None])[0].cpu()
    known = labels.known(label[None])
    if known is not None:
        prediction &= known[0]
    return prediction.numpy(), labels.masks(label[None])[0].numpy()


def predict_cases(
    network: SegmentationNetwork, context: StepContext, indices: range | None = None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield label map (D, H, W) and logits (K, D, H, W) of validation cases, in order.

    Args:
        network: The network.
        context: What is fixed.
        indices: Which cases; None for all.
    """
    plan, store = context.plan, context.setup.val
    chosen = range(len(store)) if indices is None else indices

    def forward(image: Tensor) -> Tensor:
        with plan.autocast():
            logits: Tensor = network(plan.place_image(image))
        return logits

    images = (ArrayInput(store[i].image) for i in chosen)
    with torch.no_grad(), evaluating(network):
        logits_of_cases = predict_logits(
            forward,
            images,
            window=context.setup.card.window,
            batch_size=context.config.batch_size,
        )
        for index, logits in zip(chosen, logits_of_cases, strict=True):
            yield torch.from_numpy(store[index].label.astype(np.int32)), logits
