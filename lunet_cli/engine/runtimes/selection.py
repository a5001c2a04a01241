"""Which runtime computes a network: the first of an order that is there and agrees with fp32."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from lunet_cli.config.network import NetworkSpec
from lunet_cli.config.network_cost import count_conv_flops
from lunet_cli.config.vocabulary import RUNTIMES, Precision, PrecisionChoice, RuntimeName
from lunet_cli.engine.networks.blocks import SegmentationNetwork
from lunet_cli.engine.runtimes.exported_graph import Forward, Network
from lunet_cli.engine.runtimes.runtime import (
    RuntimePlan,
    candidate_plans,
    is_installed,
    load_runtime,
    runtimes_of,
)
from lunet_cli.results.runtimes import RuntimeChosen, RuntimeTrial

Load = Callable[[RuntimePlan, Network], Forward]

# Largest difference of a probability. Other orders of summation give some 1e-5 in fp32; bf16 keeps
# 8 bits, 4e-3 of each value, and a network of twenty layers adds up a few of these.
TOLERANCE: dict[Precision, float] = {"fp32": 1e-3, "bf16": 2e-2, "fp16": 2e-2}
# Tracing and compiling for another runtime takes some seconds. So many operations take plain
# PyTorch about 20 s with a small lean network on two cores; a shorter job would not win the seconds
# back.
_WORTH_TRYING_FLOPS = 2e12
_WORTH_TRYING_WINDOWS = 200
# Another arithmetic of PyTorch itself takes no preparation, only the trial, about a second. So many
# operations take one pass in fp32 about seven seconds with a small lean network on two cores.
_WORTH_TRYING_PRECISION_FLOPS = 2e11
# The fastest first, as measured over the families (docs/speed.md). A fixed order and not a race:
# who wins a race is decided by what else the machine does, and the same command must give the same
# masks.
_ORDER: tuple[tuple[RuntimeName, Precision], ...] = (
    ("openvino", "bf16"),
    ("torch", "bf16"),
    ("torch", "fp16"),
    ("openvino", "fp32"),
    ("onnx", "fp32"),
    ("torch", "fp32"),
)
# Depthwise convolutions gain nothing, or lose, in half precision on a CPU.
_ORDER_DEPTHWISE: tuple[tuple[RuntimeName, Precision], ...] = (
    ("openvino", "fp32"),
    ("onnx", "fp32"),
    ("torch", "fp32"),
)


def choose_runtime(
    network: Network,
    spec: NetworkSpec,
    usual: RuntimePlan,
    image: Tensor,
    *,
    precision: PrecisionChoice,
    num_windows: int,
    probabilities: Callable[[Tensor], Tensor],
) -> tuple[RuntimePlan, Forward, RuntimeChosen]:
    """Take the usually fastest runtime whose probabilities agree with fp32, if the job is long.

    Args:
        network: The network.
        spec: Its specification.
        usual: What is taken where another runtime is not worth its preparation.
        image: A batch of windows (B, C, D, H, W), float32 on the CPU.
        precision: The arithmetic to take; `auto` leaves it open.
        num_windows: Windows in the whole job, whatever part of it is done already.
        probabilities: From logits to probabilities.

    Returns:
        How the network is computed, the function that does it, and the reasons.
    """
    if not _is_long(spec, image, num_windows):
        reason = "the usual runtime, since the job is short"
        trial = RuntimeTrial(str(usual), None, "taken without trying others")
        return usual, load_runtime(usual, network), RuntimeChosen(str(usual), reason, (trial,))
    plans = candidate_plans(network, usual.device, precision)
    reference = _reference(network, usual)
    expected = _outcome(load_runtime(reference, network), image, probabilities)
    trials: list[RuntimeTrial] = []
    for plan in sorted(plans, key=lambda plan: _rank(plan, spec)):
        trial, forward = _try(plan, network, image, expected, load_runtime, probabilities)
        trials.append(trial)
        if forward is not None:
            reason = "the usually fastest of those that are installed and agree with fp32"
            trials += _missing(network, plans)
            return plan, forward, RuntimeChosen(str(plan), reason, tuple(trials))
    reason = "no other runtime agrees with fp32"
    trials += _missing(network, plans)
    return usual, load_runtime(usual, network), RuntimeChosen(str(usual), reason, tuple(trials))


def choose_precision(
    network: Network,
    usual: RuntimePlan,
    image: Tensor,
    *,
    precision: PrecisionChoice,
    num_flops: float,
    load: Load,
    probabilities: Callable[[Tensor], Tensor],
) -> tuple[RuntimePlan, RuntimeChosen]:
    """Take the usually fastest arithmetic of PyTorch that agrees with fp32, if the job is long.

    Args:
        network: The network.
        usual: What is taken where another arithmetic is not worth a trial; its runtime is `torch`.
        image: A part of a volume (1, C, D, H, W), float32 on the CPU.
        precision: The arithmetic to take; `auto` leaves it open.
        num_flops: Operations of the whole job, whatever part of it is done already.
        load: What makes the network ready.
        probabilities: From logits to probabilities.

    Returns:
        How the network is computed, and the reasons.
    """
    if num_flops < _WORTH_TRYING_PRECISION_FLOPS:
        trial = RuntimeTrial(str(usual), None, "taken without trying others")
        reason = "the usual arithmetic, since the job is short"
        return usual, RuntimeChosen(str(usual), reason, (trial,))
    trials: list[RuntimeTrial] = []
    expected = _outcome(load_runtime(_reference(network, usual), network), image, probabilities)
    # The last is fp32, which every device has.
    for plan in reversed(candidate_plans(network, usual.device, precision)):
        if plan.runtime != usual.runtime:
            continue
        trial, forward = _try(plan, network, image, expected, load, probabilities)
        trials.append(trial)
        if forward is not None:
            reason = "the usually fastest arithmetic that agrees with fp32"
            return plan, RuntimeChosen(str(plan), reason, tuple(trials))
    reason = "no other arithmetic agrees with fp32"
    return usual, RuntimeChosen(str(usual), reason, tuple(trials))


def _is_long(spec: NetworkSpec, image: Tensor, num_windows: int) -> bool:
    """Whether a job is worth the preparation of another runtime.

    It is counted and not timed: a count does not depend on what else the machine does.
    """
    depth, height, width = image.shape[2:]
    flops = num_windows * count_conv_flops(spec, (depth, height, width))
    return num_windows >= _WORTH_TRYING_WINDOWS and flops >= _WORTH_TRYING_FLOPS


def _rank(plan: RuntimePlan, spec: NetworkSpec) -> int:
    order = _ORDER
    if spec.topology == "mednext" and plan.device == "cpu":
        order = (*_ORDER_DEPTHWISE, *_ORDER)
    way = (plan.runtime, plan.precision)
    if way not in order:
        return len(order)
    return order.index(way)


def _reference(network: Network, usual: RuntimePlan) -> RuntimePlan:
    """What all must agree with: plain PyTorch in fp32, or of an exported file its usual runtime."""
    if isinstance(network, SegmentationNetwork):
        return replace(usual, runtime="eager", precision="fp32")
    return replace(usual, precision="fp32")


def _try(
    plan: RuntimePlan,
    network: Network,
    image: Tensor,
    expected: Tensor,
    load: Load,
    probabilities: Callable[[Tensor], Tensor],
) -> tuple[RuntimeTrial, Forward | None]:
    try:
        forward = load(plan, network)
        difference = float((_outcome(forward, image, probabilities) - expected).abs().max())
    # A try of packages of others, each of which fails in its own way where versions do not fit: the
    # reason is told, and the next is tried.
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        return RuntimeTrial(str(plan), None, f"does not run: {reason}"), None
    if math.isnan(difference) or difference > TOLERANCE[plan.precision]:
        return RuntimeTrial(str(plan), difference, "disagrees with fp32"), None
    return RuntimeTrial(str(plan), difference, "taken"), forward


def _missing(network: Network, tried: Sequence[RuntimePlan]) -> list[RuntimeTrial]:
    """The runtimes that could have been tried if they were installed."""
    names = {plan.runtime for plan in tried}
    missing = []
    for name in RUNTIMES:
        if name in runtimes_of(network) and name not in names and not is_installed(name):
            verdict = f'not installed: pip install "lunet[{name}]"'
            missing.append(RuntimeTrial(name, None, verdict))
    return missing


def _outcome(forward: Forward, image: Tensor, probabilities: Callable[[Tensor], Tensor]) -> Tensor:
    with torch.inference_mode():
        return probabilities(forward(image).float()).cpu()
