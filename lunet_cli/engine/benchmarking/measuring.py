"""What happens in the process of a row: passes, and the memory and energy that they take."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lunet_cli.config.training import LossConfig
from lunet_cli.config.vocabulary import MIB
from lunet_cli.engine.benchmarking.energy import EnergyMeter
from lunet_cli.engine.benchmarking.row_plan import AUTO, RowPlan
from lunet_cli.engine.networks.blocks import SegmentationNetwork
from lunet_cli.engine.networks.execution import ExecutionPlan, prefers_channels_last
from lunet_cli.engine.runtimes.runtime import RuntimePlan, load_runtime, runtimes_of
from lunet_cli.engine.runtimes.selection import choose_runtime
from lunet_cli.engine.runtimes.timing import time_passes_ms
from lunet_cli.engine.training.losses import make_loss

_SEED = 0
# What the target and the step are like does not change how long a step takes.
_FOREGROUND = 0.2
_LEARNING_RATE = 1e-3
# A job that is long enough for every runtime.
_MANY_WINDOWS = 1_000_000


@dataclass(frozen=True)
class Passes:
    """What a row is asked to compute before the others go on.

    Args:
        untimed: Passes that bring the row's data back into the caches.
        timed: Passes that count.
        is_warm_up: Whether the peak of memory starts anew after it.
    """

    untimed: int
    timed: int
    is_warm_up: bool = False


@dataclass(frozen=True)
class PassTimes:
    """What the passes took.

    Args:
        times_ms: Time of each timed pass.
        peak_mib: Peak of the memory since the warm-up.
        energy_j: Joules of the timed passes together; None where they cannot be read.
    """

    times_ms: tuple[float, ...]
    peak_mib: float
    energy_j: float | None


def prepare_row(plan: RowPlan) -> Callable[[Passes], PassTimes]:
    """Load the network of a row, ready to be timed."""
    prepare = _training_step if plan.is_training else _forward_pass
    run = prepare(plan)
    meter = EnergyMeter()

    def measure(passes: Passes) -> PassTimes:
        time_passes_ms(run, device=plan.device, warmup_runs=passes.untimed, timed_runs=0)
        # What was taken since the last call, by other rows, is not counted.
        meter.joules()
        times = time_passes_ms(run, device=plan.device, warmup_runs=0, timed_runs=passes.timed)
        done = PassTimes(tuple(times), _peak_mib(plan.device), meter.joules())
        if passes.is_warm_up:
            _reset_peak(plan.device)
        return done

    return measure


def prepare_selection(plan: RowPlan) -> Callable[[None], RuntimePlan]:
    """Load the network of a row whose runtime is `auto`, ready to select one as for a long job."""
    network = plan.target.load()
    usual = RuntimePlan(runtimes_of(network)[0], plan.device, plan.largest_precision)
    image = _image(plan)

    def select(_: None) -> RuntimePlan:
        selected, _forward, _reasons = choose_runtime(
            network,
            plan.target.spec,
            usual,
            image,
            precision=plan.precision,
            num_windows=_MANY_WINDOWS,
            probabilities=torch.sigmoid,
        )
        return selected

    return select


def _forward_pass(plan: RowPlan) -> Callable[[], object]:
    assert plan.runtime != AUTO
    assert plan.precision != AUTO
    torch.manual_seed(_SEED)
    image = _image(plan)
    runtime = RuntimePlan(plan.runtime, plan.device, plan.precision)
    forward = load_runtime(runtime, plan.target.load())
    return lambda: forward(image)


def _training_step(plan: RowPlan) -> Callable[[], object]:
    """Forward, soft Dice, backward and Adam, in the layout that the training takes.

    With `eager`, in the plain layout: PyTorch as it comes.
    """
    network = plan.target.load()
    assert isinstance(network, SegmentationNetwork)
    assert plan.precision != AUTO
    channels_last = plan.runtime != "eager" and prefers_channels_last(
        network.spec, plan.device, plan.precision
    )
    execution = ExecutionPlan(
        plan.device, plan.precision, channels_last, compile=plan.runtime == "torch-compile"
    )
    torch.manual_seed(_SEED)
    network = execution.place(network.train())
    forward = execution.callable_of(network)
    optimizer = torch.optim.Adam(network.parameters(), lr=_LEARNING_RATE)
    loss = make_loss(LossConfig(), "sigmoid")
    image = execution.place_image(_image(plan))
    shape = (plan.shape[0], network.spec.out_channels, *plan.shape[2:])
    target = (torch.rand(shape) < _FOREGROUND).to(plan.device)

    def step() -> None:
        # The clock runs in inference mode, in which nothing can be learnt.
        with torch.inference_mode(mode=False), torch.enable_grad():
            with execution.autocast():
                logits = forward(image)
            optimizer.zero_grad()
            loss(logits, target).backward()
            optimizer.step()

    return step


def _image(plan: RowPlan) -> Tensor:
    return torch.randn(plan.shape, generator=torch.Generator().manual_seed(_SEED))


def _peak_mib(device: str) -> float:
    """Peak of the resident memory of this process; on CUDA that of the tensors there."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / MIB
    # psutil tells the memory of now, and its peak on Windows only.
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # In bytes on macOS, in KiB everywhere else: see getrusage(2) of both.
    if sys.platform == "darwin":
        return peak / MIB
    return peak / 1024


def _reset_peak(device: str) -> None:
    """Forget what loading and compiling took, where the system lets us."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return
    # 5 resets VmHWM, the peak of the resident memory; see proc_pid_clear_refs(5).
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return
