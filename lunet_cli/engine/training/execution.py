"""How to compute: device, precision, memory layout and compilation, chosen by trial where asked to."""

from __future__ import annotations

import copy
import math
import platform
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from lunet_cli.config.training import TrainingConfig
from lunet_cli.engine.networks.blocks import SegmentationNetwork
from lunet_cli.engine.training.losses import Loss
from lunet_cli.engine.training.optimization import make_optimizer
from lunet_cli.errors import DeviceError
from lunet_cli.results import Trial

Precision = Literal["fp32", "bf16", "fp16"]
_TRIAL_STEPS = 4
_HOPELESS = 1.5  # A candidate so much slower than the fastest after its second step runs no more steps.
_LOSS_TOLERANCE = 0.03


@dataclass(frozen=True)
class ExecutionPlan:
    """How a network is computed.

    Args:
        device: `cpu`, `cuda` or `mps`.
        precision: Arithmetic under autocast; weights stay in fp32.
        channels_last: Whether the channel is the fastest axis in memory.
        compile: Whether `torch.compile` is used.
    """

    device: str
    precision: Precision
    channels_last: bool
    compile: bool

    def __str__(self) -> str:
        parts = [self.precision, *(["channels-last"] if self.channels_last else [])]
        return f"{' '.join(parts + (['compiled'] if self.compile else []))} on {self.device}"

    def autocast(self) -> AbstractContextManager[Any]:
        """The context to run forward passes in."""
        dtype = torch.float16 if self.precision == "fp16" else torch.bfloat16
        return torch.autocast(self.device, dtype, enabled=self.precision != "fp32")

    def place(self, network: SegmentationNetwork) -> SegmentationNetwork:
        """Move a network to the device, in the layout of the plan."""
        placed = network.to(self.device)
        if self.channels_last:
            placed.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]  # missing in torch's stub
        return placed

    def place_image(self, image: Tensor) -> Tensor:
        """Move images (B, C, D, H, W) likewise."""
        layout = torch.channels_last_3d if self.channels_last else torch.contiguous_format
        return image.to(self.device, non_blocking=True, memory_format=layout)

    def callable_of(self, network: SegmentationNetwork) -> Callable[[Tensor], Tensor]:
        """The network, compiled if the plan says so."""
        return torch.compile(network, dynamic=False) if self.compile else network

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return asdict(self)


def resolve_device(name: Literal["auto", "cpu", "cuda", "mps"]) -> str:
    """The device to use.

    Raises:
        DeviceError: The named device is not available.
    """
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return next(device for device in ("cuda", "mps", "cpu") if available[device])
    if not available[name]:
        have = ", ".join(device for device, there in available.items() if there)
        raise DeviceError(
            f"training.device: {name} is not available; this machine has {have}",
            hint="Set training.device=auto, or install a build of PyTorch for that device.",
        )
    return name


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


def machine_name() -> str:
    """Processor and, if there is one, accelerator in words."""
    names = [_processor_name(), torch.backends.cpu.get_cpu_capability()]
    if torch.cuda.is_available():
        names.append(torch.cuda.get_device_name())
    return ", ".join(names)


def _processor_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")  # Where the standard library knows the instruction set only.
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _candidates(config: TrainingConfig, network: SegmentationNetwork, device: str) -> list[ExecutionPlan]:
    compiled = [False, True] if config.compile == "auto" else [config.compile]
    if config.precision != "auto":
        # Depthwise convolutions lose in channels-last; others gain on a CPU, and in half precision on CUDA.
        is_dense = network.spec.topology != "mednext"
        channels_last = is_dense and (device == "cpu" or (device == "cuda" and config.precision != "fp32"))
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
