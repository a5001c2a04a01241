"""Which runtime a network is computed with, by trial on one of its windows."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from lunet_cli.engine.networks.blocks import SegmentationNetwork
from lunet_cli.engine.networks.execution import Precision
from lunet_cli.engine.runtimes.runtime import (
    RUNTIMES,
    Forward,
    Network,
    RuntimeName,
    RuntimePlan,
    candidate_plans,
    is_installed,
    load_runtime,
    runtimes_of,
)
from lunet_cli.engine.runtimes.timing import time_passes_ms
from lunet_cli.results.events import format_seconds
from lunet_cli.results.runtimes import RuntimeChosen, RuntimeTrial

TOLERANCE: dict[Precision, float] = {"fp32": 1e-3, "bf16": 2e-2, "fp16": 2e-2}
# Tracing and compiling for another runtime takes some seconds, which a short job would not win back.
_WORTH_TRYING_SECONDS = 20.0
_WORTH_TRYING_PASSES = 100
_TIMED_RUNS = 3


def choose_runtime(
    network: Network,
    usual: RuntimePlan,
    image: Tensor,
    *,
    precision: Precision | Literal["auto"],
    num_passes: int,
    probabilities: Callable[[Tensor], Tensor],
) -> tuple[RuntimePlan, Forward, RuntimeChosen]:
    """Take the fastest runtime whose probabilities agree with fp32 in PyTorch, if the job is long enough to gain.

    Args:
        network: The network.
        usual: What is taken where trying is not worth its time.
        image: A batch of windows (B, C, D, H, W), float32 on the CPU.
        precision: The arithmetic to take; `auto` tries those that the device has.
        num_passes: Forward passes of such batches that lie ahead.
        probabilities: From logits to probabilities.

    Returns:
        How the network is computed, the function that does it, and the reasons.
    """
    forward = load_runtime(usual, network)
    usual_ms = _median_ms(forward, image, usual, timed_runs=1)
    work = num_passes * usual_ms / 1000
    if work < _WORTH_TRYING_SECONDS or num_passes < _WORTH_TRYING_PASSES:
        trial = RuntimeTrial(str(usual), usual_ms, None, "taken without trying others")
        reason = f"the whole job takes about {format_seconds(work)}, too little to try others"
        return usual, forward, RuntimeChosen(str(usual), reason, (trial,))
    plans = candidate_plans(network, usual.device, precision)
    yardstick: RuntimeName = "eager" if isinstance(network, SegmentationNetwork) else usual.runtime
    reference_plan = replace(usual, runtime=yardstick, precision="fp32")
    expected = _outcome(load_runtime(reference_plan, network), image, probabilities)
    trials: list[RuntimeTrial] = []
    best: tuple[float, RuntimePlan, Forward] | None = None
    for plan in plans:
        trial, candidate = _try(plan, network, image, expected, probabilities)
        trials.append(trial)
        if candidate is not None and trial.pass_ms is not None and (best is None or trial.pass_ms < best[0]):
            best = (trial.pass_ms, plan, candidate)
    if best is None:
        reason = "no other runtime agrees with fp32"
        return usual, forward, RuntimeChosen(str(usual), reason, (*trials, *_missing(network, plans)))
    chosen = best[1]
    trials = [replace(t, verdict="fastest") if t.name == str(chosen) else t for t in trials]
    trials += _missing(network, plans)
    reason = f"the fastest that agrees with fp32, {usual_ms / best[0]:.1f} times as fast as {usual}"
    return chosen, best[2], RuntimeChosen(str(chosen), reason, tuple(trials))


def _try(
    plan: RuntimePlan, network: Network, image: Tensor, expected: Tensor, probabilities: Callable[[Tensor], Tensor]
) -> tuple[RuntimeTrial, Forward | None]:
    try:
        forward = load_runtime(plan, network)
        difference = float((_outcome(forward, image, probabilities) - expected).abs().max())
        pass_ms = _median_ms(forward, image, plan)
    except Exception as error:  # a runtime that does not work, for whatever reason, is not taken
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        return RuntimeTrial(str(plan), None, None, f"does not run: {reason}"), None
    if not difference <= TOLERANCE[plan.precision]:
        return RuntimeTrial(str(plan), pass_ms, difference, "disagrees with fp32"), None
    return RuntimeTrial(str(plan), pass_ms, difference, "slower"), forward


def _missing(network: Network, tried: Sequence[RuntimePlan]) -> list[RuntimeTrial]:
    """The runtimes that could have been tried if they were installed."""
    names = {plan.runtime for plan in tried}
    missing: list[RuntimeName] = [
        name for name in RUNTIMES if name in runtimes_of(network) and name not in names and not is_installed(name)
    ]
    return [RuntimeTrial(name, None, None, f'not installed: pip install "lunet[{name}]"') for name in missing]


def _outcome(forward: Forward, image: Tensor, probabilities: Callable[[Tensor], Tensor]) -> Tensor:
    with torch.inference_mode():
        return probabilities(forward(image).float()).cpu()


def _median_ms(forward: Forward, image: Tensor, plan: RuntimePlan, *, timed_runs: int = _TIMED_RUNS) -> float:
    # Other runtimes' threads may still spin during the first pass.
    times = time_passes_ms(lambda: forward(image), device=plan.device, warmup_runs=1, timed_runs=timed_runs)
    return statistics.median(times)
