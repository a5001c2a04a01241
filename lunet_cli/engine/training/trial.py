"""Which way of computing a training takes, by trial where the configuration leaves it open."""

from __future__ import annotations

import copy
import math
import statistics
import time

import torch
from torch import Tensor

from lunet_cli.config.training import TrainingConfig
from lunet_cli.engine.networks.blocks import SegmentationNetwork
from lunet_cli.engine.networks.execution import ExecutionPlan, Precision, prefers_channels_last, resolve_device
from lunet_cli.engine.training.losses import Loss
from lunet_cli.engine.training.optimization import make_optimizer
from lunet_cli.results.training import Trial

_TRIAL_STEPS = 4
_HOPELESS = 1.5  # A candidate so much slower than the fastest after its second step runs no more steps.
_LOSS_TOLERANCE = 0.03


def choose_plan(
    config: TrainingConfig, network: SegmentationNetwork, batch: tuple[Tensor, Tensor], loss: Loss
) -> tuple[ExecutionPlan, tuple[Trial, ...]]:
    """Decide how to compute.

    Explicit settings decide alone, so that two runs of one configuration compute alike. Where precision or
    compilation is `auto`, each candidate trains a copy of the network for a few steps on the same batch; a
    candidate whose losses leave those of fp32 is out, and the fastest of the others wins.

    Args:
        config: The section `training`.
        network: The freshly initialised network, left unchanged.
        batch: A training batch: images (B, C, D, H, W) and targets (B, K, D, H, W).
        loss: The loss of the run.

    Returns:
        The plan and what was measured on the way.
    """
    device = resolve_device(config.device)
    candidates = _candidates(config, network, device)
    if len(candidates) == 1:
        return candidates[0], ()
    reference = _reference(candidates)
    racing = list(dict.fromkeys([reference, *candidates]))
    runs = {plan: _Trial(plan, config, network, batch, loss) for plan in racing}
    for step in range(_TRIAL_STEPS):
        for plan in racing:
            runs[plan].step()
        if step == 1:
            fastest = min(run.step_ms for run in runs.values())
            racing = [plan for plan in racing if plan == reference or runs[plan].step_ms < _HOPELESS * fastest]
    expected = runs[reference].losses
    trials = {plan: Trial(str(plan), run.step_ms, _agrees(run.losses, expected)) for plan, run in runs.items()}
    fitting = [plan for plan in racing if plan in candidates and trials[plan].agrees] or [candidates[0]]
    return min(fitting, key=lambda plan: trials[plan].step_ms), tuple(trials.values())


def _candidates(config: TrainingConfig, network: SegmentationNetwork, device: str) -> list[ExecutionPlan]:
    compiled = [False, True] if config.compile == "auto" else [config.compile]
    if config.precision != "auto":
        channels_last = prefers_channels_last(network.spec, device, config.precision)
        return [ExecutionPlan(device, config.precision, channels_last, flag) for flag in compiled]
    precisions: list[Precision] = ["fp32", "bf16"]
    if device == "mps" or (device == "cuda" and not torch.cuda.is_bf16_supported()):
        precisions = ["fp32", "fp16"]
    layouts = [False] if device == "mps" else [False, True]
    return [
        ExecutionPlan(device, precision, channels_last, flag)
        for flag in compiled
        for precision in precisions
        for channels_last in layouts
    ]


def _reference(candidates: list[ExecutionPlan]) -> ExecutionPlan:
    """What the others must agree with: fp32 without compilation, in the layout that is usually faster."""
    layouts = [plan.channels_last for plan in candidates]
    return ExecutionPlan(candidates[0].device, "fp32", channels_last=any(layouts), compile=False)


class _Trial:
    """A copy of the network that trains under one plan; its first step warms up and is not timed."""

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
        self._image, self._target = plan.place_image(batch[0]), batch[1].to(plan.device)
        self._loss = loss
        self.losses: list[float] = []
        self._times: list[float] = []

    @property
    def step_ms(self) -> float:
        return 1000 * statistics.median(self._times[1:])

    def step(self) -> None:
        start = time.perf_counter()
        with torch.random.fork_rng(), self._plan.autocast():
            torch.manual_seed(len(self.losses))
            logits = self._forward(self._image)
        value = self._loss(logits, self._target)
        self._optimizer.zero_grad()
        value.backward()
        self._optimizer.step()
        self.losses.append(value.item())
        self._times.append(time.perf_counter() - start)


def _agrees(losses: list[float], expected: list[float]) -> bool:
    """Whether losses stay within a few hundredths of the reference's scale."""
    scale = max(1.0, max(abs(value) for value in expected))
    return all(
        math.isfinite(a) and abs(a - b) <= _LOSS_TOLERANCE * scale for a, b in zip(losses, expected, strict=False)
    )
