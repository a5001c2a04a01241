"""How a training computes: decided by what the machine is, and verified against fp32."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec

import torch
from torch import Tensor

from lunet_cli.config.network import NetworkSpec
from lunet_cli.config.training import TrainingConfig
from lunet_cli.config.vocabulary import Precision
from lunet_cli.engine.networks.blocks import SegmentationNetwork
from lunet_cli.engine.networks.execution import (
    ExecutionPlan,
    prefers_channels_last,
    resolve_device,
    usual_precision,
)
from lunet_cli.engine.training.losses import Loss
from lunet_cli.engine.training.optimization import make_optimizer
from lunet_cli.results.events import Event
from lunet_cli.results.training import PlanChosen, VerificationStep

_NUM_STEPS = 3  # The first loss, and those after one and after two updates of the weights.
# What is wrong in half precision (noise, overflow) shows in two samples as in a whole batch, and
# fp32 is the slow side of the comparison. One sample is too few for batch normalisation.
_NUM_SAMPLES = 2
_LOSS_TOLERANCE = 0.03


def choose_plan(
    config: TrainingConfig,
    network: SegmentationNetwork,
    first_batch: Callable[[], tuple[Tensor, Tensor]],
    loss: Loss,
    on_event: Callable[[Event], None],
) -> tuple[ExecutionPlan, PlanChosen]:
    """Decide how to compute.

    The decision depends on the device, its instruction sets and the family of the network, never on
    a clock: what else the machine does at the moment must not change the result of a training. What
    is not plain fp32 trains a copy of the network for a few steps first; where its losses leave
    those of fp32, the training falls back.

    Args:
        config: The section `training`.
        network: The freshly initialised network, left unchanged.
        first_batch: Gives images (B, C, D, H, W) and targets (B, K, D, H, W) to verify on; called
            only if there is something to verify.
        loss: The loss of the run.
        on_event: Called before each step of the verification.

    Returns:
        The plan, and the reasons for it.
    """
    device = resolve_device(config.device)
    precision, reason = usual_precision(network.spec, device)
    if config.precision != "auto":
        precision, reason = config.precision, "as configured"
    compiled = config.compile
    if compiled == "auto":
        # On a CPU, compiled training was within noise of the plain one, and takes 30 s to start.
        compiled = device == "cuda" and find_spec("triton") is not None
    plan = _plan(network.spec, device, precision, compiled)
    fallback = plan
    if config.precision == "auto":
        fallback = _plan(network.spec, device, "fp32", fallback.compile)
    if config.compile == "auto":
        fallback = replace(fallback, compile=False)
    if plan == fallback:
        return plan, PlanChosen(str(plan), reason, _pins(config, plan))
    difference = _difference(plan, config, network, first_batch(), loss, on_event)
    if difference <= _LOSS_TOLERANCE:
        reason += f"; {_NUM_STEPS} steps agree with fp32 (losses within {difference:.2g})"
        return plan, PlanChosen(str(plan), reason, _pins(config, plan))
    reason = f"{plan} disagrees with fp32 in the first {_NUM_STEPS} steps (losses differ by {difference:.2g})"
    return fallback, PlanChosen(str(fallback), reason, _pins(config, fallback))


def _plan(spec: NetworkSpec, device: str, precision: Precision, compiled: bool) -> ExecutionPlan:
    channels_last = prefers_channels_last(spec, device, precision)
    return ExecutionPlan(device, precision, channels_last, compiled)


def _pins(config: TrainingConfig, plan: ExecutionPlan) -> tuple[str, ...]:
    """The settings that take this plan on every machine, where the configuration leaves it open."""
    pins: list[str] = []
    if config.precision == "auto":
        pins.append(f"training.precision={plan.precision}")
    if config.compile == "auto":
        pins.append(f"training.compile={str(plan.compile).lower()}")
    return tuple(pins)


def _difference(
    plan: ExecutionPlan,
    config: TrainingConfig,
    network: SegmentationNetwork,
    batch: tuple[Tensor, Tensor],
    loss: Loss,
    on_event: Callable[[Event], None],
) -> float:
    """How far the losses of a plan leave those of fp32, relative to their size; infinite for NaN."""
    reference = _plan(network.spec, plan.device, "fp32", compiled=False)
    losses: list[list[float]] = []
    for index, candidate in enumerate((reference, plan)):
        rehearsal = _Rehearsal(candidate, config, network, batch, loss)
        losses.append([])
        for step in range(_NUM_STEPS):
            number = index * _NUM_STEPS + step + 1
            on_event(VerificationStep(str(candidate), number, 2 * _NUM_STEPS))
            losses[index].append(rehearsal.step(step))
    return relative_difference(losses[1], losses[0])


class _Rehearsal:
    """A copy of the network that trains under one plan."""

    def __init__(
        self,
        plan: ExecutionPlan,
        config: TrainingConfig,
        network: SegmentationNetwork,
        batch: tuple[Tensor, Tensor],
        loss: Loss,
    ) -> None:
        self._plan = plan
        self._network = plan.place(copy.deepcopy(network)).train()
        self._optimizer = make_optimizer(config, self._network.parameters())
        self._forward = plan.callable_of(self._network)
        image, target = (side[:_NUM_SAMPLES] for side in batch)
        self._image, self._target = plan.place_image(image), target.to(plan.device)
        self._loss = loss

    def step(self, seed: int) -> float:
        """Update the weights once, with dropout drawn from `seed`; return the loss before."""
        with torch.random.fork_rng(), self._plan.autocast():
            torch.manual_seed(seed)
            logits = self._forward(self._image)
        value = self._loss(logits, self._target)
        self._optimizer.zero_grad()
        value.backward()
        self._optimizer.step()
        return value.item()


def relative_difference(losses: list[float], expected: list[float]) -> float:
    """The largest difference of losses, relative to the largest expected one where that is above 1."""
    if not all(math.isfinite(value) for value in (*losses, *expected)):
        return math.inf
    scale = max(1.0, *(abs(value) for value in expected))
    return max(abs(a - b) for a, b in zip(losses, expected, strict=True)) / scale
