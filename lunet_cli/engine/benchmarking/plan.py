"""What is going to be measured: the grid of rows, and everything that can be refused before it starts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Literal

import torch

from lunet_cli.engine.benchmarking.complexity import Complexity, count_complexity
from lunet_cli.engine.benchmarking.memory import Need, available, estimate_need
from lunet_cli.engine.benchmarking.rows import AUTO, RowPlan
from lunet_cli.engine.benchmarking.subjects import (
    Subject,
    default_shape,
    find_subjects,
    with_channels,
)
from lunet_cli.engine.networks.execution import Precision
from lunet_cli.engine.runtimes.runtime import (
    RUNTIMES,
    RuntimeName,
    RuntimePlan,
    device_for,
    has_precision,
    require_installed,
)
from lunet_cli.errors import ConfigError, DataError, DeviceError, LunetError
from lunet_cli.results.events import WarningIssued

DeviceName = Literal["auto", "cpu", "cuda", "mps"]


@dataclass(frozen=True)
class BenchOptions:
    """What to measure. Rows are made for every combination; of what is empty, the default is taken.

    Args:
        targets: Configurations, checkpoints, run folders, exported files.
        architectures: Names of presets.
        families: Families of named presets.
        all_presets: All 29 named presets.
        sizes: Voxels (D, H, W); 64 each, or what a configuration says.
        batches: Samples per pass; 1, or what a configuration says.
        channels: Image channels of presets and configurations.
        classes: Output channels likewise.
        devices: `auto` takes an accelerator if there is one.
        threads: CPU threads; as many as PyTorch finds.
        precisions: Arithmetic; fp32, and for the runtime `auto` any that agrees with it.
        runtimes: `torch`, or for an exported file the first that can compute it.
        warmup_runs: Passes before the timed ones.
        timed_runs: Timed passes.
        training: Measure training steps instead of forward passes.
        baseline: Names of a preset, runtime, precision or device, joined by `/`; the first row if
            None.
    """

    targets: tuple[Path, ...] = ()
    architectures: tuple[str, ...] = ()
    families: tuple[str, ...] = ()
    all_presets: bool = False
    sizes: tuple[tuple[int, int, int], ...] = ()
    batches: tuple[int, ...] = ()
    channels: tuple[int, ...] = ()
    classes: tuple[int, ...] = ()
    devices: tuple[DeviceName, ...] = ()
    threads: tuple[int, ...] = ()
    precisions: tuple[Precision, ...] = ()
    runtimes: tuple[RuntimeName | Literal["auto"], ...] = ()
    warmup_runs: int | None = None
    timed_runs: int | None = None
    training: bool = False
    baseline: str | None = None


@dataclass(frozen=True)
class PlannedRow:
    """A row with what is known about it beforehand."""

    plan: RowPlan
    complexity: Complexity
    need: Need


def plan_rows(options: BenchOptions) -> tuple[list[PlannedRow], list[WarningIssued]]:
    """Make the grid.

    Returns:
        The rows, and a remark about each combination that this machine or a runtime does not have
        while others remain.

    Raises:
        LunetError: A name, file, size or channel is wrong, nothing remains, or memory cannot hold a
            row.
    """
    plans = [
        plan
        for subject in find_subjects(
            options.targets,
            options.architectures,
            options.families,
            all_presets=options.all_presets,
        )
        for plan in _plans_of(subject, options)
    ]
    possible, obstacles = [], []
    for plan in dict.fromkeys(plans):
        obstacle = _obstacle(plan)
        if obstacle is None:
            possible.append(plan)
        else:
            obstacles.append(obstacle)
    if not possible:
        raise obstacles[0]
    reasons = dict.fromkeys(obstacle.message for obstacle in obstacles)
    return _weigh(possible), [WarningIssued(f"left out: {reason}") for reason in reasons]


def _plans_of(subject: Subject, options: BenchOptions) -> Iterator[RowPlan]:
    usual = default_shape(subject)
    runs = subject.benchmark
    grid = product(
        options.sizes or (usual[2:],),
        options.batches or (usual[0],),
        options.channels or (None,),
        options.classes or (None,),
        options.threads or (torch.get_num_threads(),),
        options.devices or ("auto",),
        options.precisions or (None,),
        options.runtimes or (subject.runtimes[0],),
    )
    for size, batch, channels, classes, threads, device, precision, runtime in grid:
        spec = with_channels(subject, channels, classes)
        _require_size(subject, spec.total_stride, size)
        if options.training:
            _require_statistics(subject, spec.total_stride, size, batch)
        yield RowPlan(
            subject=replace(subject, spec=spec),
            shape=(batch, spec.in_channels, *size),
            runtime=runtime,
            precision=precision or (AUTO if runtime == AUTO else "fp32"),
            device=device_for(runtime, device),
            num_threads=threads,
            mode="training step" if options.training else "forward",
            warmup_runs=runs.warmup_runs if options.warmup_runs is None else options.warmup_runs,
            timed_runs=options.timed_runs or runs.timed_runs,
        )


def _require_size(subject: Subject, stride: int, size: tuple[int, int, int]) -> None:
    if min(size) < stride:
        raise ConfigError(
            f"size {'x'.join(map(str, size))}: {subject.arch} halves each axis down to 1/{stride}, "
            f"so that an axis needs at least {stride} voxels",
            hint=f"The smallest size is --size {stride}.",
        )


def _require_statistics(
    subject: Subject, stride: int, size: tuple[int, int, int], batch: int
) -> None:
    if batch == 1 and max(size) == stride and subject.spec.topology != "mednext":
        raise ConfigError(
            f"--train with size {'x'.join(map(str, size))}: one voxel is left at the deepest level of {subject.arch}, "
            "and its batch normalisation needs two",
            hint="Choose a larger --size or --batch 2.",
        )


def _obstacle(plan: RowPlan) -> LunetError | None:
    """Why a row cannot be measured here."""
    try:
        _require_possible(plan)
    except LunetError as error:
        return error
    return None


def _require_possible(plan: RowPlan) -> None:
    if plan.mode == "training step":
        _require_trainable(plan)
    if plan.precision != AUTO and not has_precision(plan.device, plan.precision):
        raise DeviceError(
            f"precision {plan.precision}: is not available on this {plan.device}",
            hint="fp32 is available everywhere.",
        )
    if plan.runtime == AUTO:
        return
    if plan.runtime not in plan.subject.runtimes:
        raise ConfigError(
            f"{plan.subject.path}: cannot be computed by the runtime {plan.runtime}",
            hint=f"Possible: {', '.join(plan.subject.runtimes)}",
        )
    require_installed(plan.runtime)
    _require_arithmetic(plan)


def _require_arithmetic(plan: RowPlan) -> None:
    """Refuse what `load_runtime` would refuse later."""
    assert plan.runtime != AUTO
    assert plan.precision != AUTO
    obstacle = RuntimePlan(plan.runtime, plan.device, plan.precision).obstacle()
    if obstacle:
        raise DeviceError(f"runtime {plan.runtime}: {obstacle}")
    if plan.subject.is_graph and plan.runtime == "torch" and plan.precision != "fp32":
        raise ConfigError(
            f"{plan.subject.path}: its precision is fixed", hint="Leave out --precision."
        )


def _require_trainable(plan: RowPlan) -> None:
    if plan.subject.is_graph:
        raise ConfigError(
            f"--train: {plan.subject.path} is an exported graph, which cannot be trained",
            hint="Name its checkpoint, or its preset with --arch.",
        )
    if plan.runtime not in ("eager", "torch", "torch-compile"):
        raise ConfigError(
            f"--train: the runtime {plan.runtime} computes forward passes only",
            hint=f"For training: {', '.join(name for name in RUNTIMES if name not in ('onnx', 'openvino'))}",
        )


def _weigh(plans: list[RowPlan]) -> list[PlannedRow]:
    counted: dict[object, Complexity] = {}
    rows = []
    for plan in plans:
        key = (plan.subject.spec, plan.shape, plan.mode)
        if key not in counted:
            counted[key] = count_complexity(*key[:2], training=plan.mode == "training step")
        row = weigh(plan, counted[key])
        _require_memory(row)
        rows.append(row)
    return rows


def weigh(plan: RowPlan, complexity: Complexity) -> PlannedRow:
    """A row with the memory that it takes."""
    precision = plan.worst_precision
    return PlannedRow(
        plan,
        complexity,
        estimate_need(
            plan.subject.spec, plan.shape, plan.device, plan.runtime, precision, complexity
        ),
    )


def _require_memory(row: PlannedRow) -> None:
    have = available(row.plan.device)
    places = [
        ("this machine has", row.need.host, have.host),
        ("the device has", row.need.device, have.device),
    ]
    for place, needed, there in places:
        if needed > there:
            raise DataError(
                f"{row.plan}: needs about {needed / 1024:,.1f} GiB, and {place} {there / 1024:,.1f} GiB",
                hint="Choose a smaller --size or --batch.",
            )


def group_rows(rows: list[PlannedRow], share: float = 0.6) -> list[list[PlannedRow]]:
    """Split rows into groups whose processes fit into memory together.

    Args:
        rows: The rows; each alone fits.
        share: The part of the memory that a group may take.
    """
    groups: list[list[PlannedRow]] = []
    host = device = 0.0
    for row in rows:
        have = available(row.plan.device)
        host, device = host + row.need.host, device + row.need.device
        if (
            not groups
            or host > share * have.host
            or (row.need.device and device > share * have.device)
        ):
            groups.append([])
            host, device = row.need.host, row.need.device
        groups[-1].append(row)
    return groups
