"""What is going to be measured: the grid of rows, and what can be refused before it starts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

import torch

from lunet_cli.config.network import NetworkSpec
from lunet_cli.config.options import BenchOptions
from lunet_cli.config.vocabulary import DeviceName, PrecisionChoice, RuntimeChoice, Size
from lunet_cli.engine.benchmarking.complexity import Complexity, count_complexity
from lunet_cli.engine.benchmarking.memory import Need, available, estimate_need
from lunet_cli.engine.benchmarking.row_plan import AUTO, Mode, RowPlan
from lunet_cli.engine.benchmarking.targets import (
    BenchTarget,
    default_shape,
    find_targets,
    with_channels,
)
from lunet_cli.engine.networks.execution import has_precision
from lunet_cli.engine.runtimes.runtime import (
    RUNTIMES_THAT_TRAIN,
    RuntimePlan,
    device_for,
    require_installed,
)
from lunet_cli.errors import ConfigError, DataError, DeviceError, LunetError
from lunet_cli.results.events import WarningIssued


@dataclass(frozen=True)
class PlannedRow:
    """A row with what is known about it beforehand."""

    plan: RowPlan
    complexity: Complexity
    need: Need


def plan_rows(options: BenchOptions) -> tuple[list[PlannedRow], list[WarningIssued]]:
    """Make the grid.

    Returns:
        The rows, and remarks: about files that are not what one may think, and each combination
        that this machine or a runtime does not have while others remain.

    Raises:
        LunetError: A name, file, size or channel is wrong, nothing remains, or memory cannot hold a
            row.
    """
    plans: dict[RowPlan, None] = {}
    remarks: list[str] = []
    for target in find_targets(options):
        remarks += target.warnings
        plans |= dict.fromkeys(_plans_of(target, options))
    possible, obstacles = [], []
    for plan in plans:
        try:
            _require_possible(plan)
        except LunetError as error:
            obstacles.append(error)
        else:
            possible.append(plan)
    if not possible:
        raise obstacles[0]
    remarks += dict.fromkeys(f"left out: {obstacle.message}" for obstacle in obstacles)
    return _weigh(possible), [*map(WarningIssued, remarks)]


def _plans_of(target: BenchTarget, options: BenchOptions) -> Iterator[RowPlan]:
    """One row for each combination; what the options leave open is as the target has it."""
    usual = default_shape(target)
    mode: Mode = "training step" if options.training else "forward"
    warmup_runs = options.warmup_runs
    if warmup_runs is None:
        warmup_runs = target.benchmark.warmup_runs
    sizes = options.sizes or (usual[2:],)
    batch_sizes = options.batch_sizes or (usual[0],)
    networks = product(sizes, batch_sizes, _specs_of(target, options))
    for (size, batch_size, spec), ways in product(networks, _ways_to_compute(target, options)):
        num_threads, device, precision, runtime = ways
        plan = RowPlan(
            target=replace(target, spec=spec),
            shape=(batch_size, spec.in_channels, *size),
            runtime=runtime,
            precision=precision,
            device=device_for(runtime, device),
            num_threads=num_threads,
            mode=mode,
            warmup_runs=warmup_runs,
            timed_runs=options.timed_runs or target.benchmark.timed_runs,
        )
        _require_size(plan, size)
        yield plan


def _specs_of(target: BenchTarget, options: BenchOptions) -> Iterator[NetworkSpec]:
    for channels, classes in product(options.channels or (None,), options.classes or (None,)):
        yield with_channels(target, channels, classes)


def _ways_to_compute(
    target: BenchTarget, options: BenchOptions
) -> Iterator[tuple[int, DeviceName, PrecisionChoice, RuntimeChoice]]:
    """Threads, device, precision and runtime of each combination."""
    for num_threads, device, precision, runtime in product(
        options.threads or (torch.get_num_threads(),),
        options.devices or ("auto",),
        options.precisions or (None,),
        options.runtimes or (target.runtimes[0],),
    ):
        # Where the runtime is free, so is the arithmetic, as long as it agrees with fp32.
        usual: PrecisionChoice = AUTO if runtime == AUTO else "fp32"
        yield num_threads, device, precision or usual, runtime


def _require_size(plan: RowPlan, size: Size) -> None:
    spec, arch = plan.target.spec, plan.target.arch
    stride = spec.total_stride
    words = "x".join(map(str, size))
    if min(size) < stride:
        raise ConfigError(
            f"size {words}: {arch} halves each axis down to 1/{stride}, "
            f"so that an axis needs at least {stride} voxels",
            hint=f"The smallest size is `sizes={stride}`.",
        )
    # The variance of one value is not a variance. MedNeXt has no batch normalisation.
    is_one_voxel = plan.shape[0] == 1 and max(size) == stride
    if plan.is_training and is_one_voxel and spec.topology != "mednext":
        raise ConfigError(
            f"`training=True` with size {words}: one voxel is left at the deepest level of {arch}, "
            "and its batch normalisation needs two",
            hint="Choose larger `sizes`, or `batch_sizes=2`.",
        )


def _require_possible(plan: RowPlan) -> None:
    """Raise if a row cannot be measured here."""
    if plan.is_training:
        _require_trainable(plan)
    if plan.precision != AUTO and not has_precision(plan.device, plan.precision):
        raise DeviceError(
            f"precision {plan.precision}: is not available on this {plan.device}",
            hint="fp32 is available everywhere.",
        )
    if plan.runtime == AUTO:
        return
    if plan.runtime not in plan.target.runtimes:
        raise ConfigError(
            f"{plan.target.path}: cannot be computed by the runtime {plan.runtime}",
            hint=f"Possible: {', '.join(plan.target.runtimes)}",
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
    if plan.target.is_graph and plan.runtime == "torch" and plan.precision != "fp32":
        raise ConfigError(
            f"{plan.target.path}: its precision is fixed", hint="Leave out `precisions`."
        )


def _require_trainable(plan: RowPlan) -> None:
    if plan.target.is_graph:
        raise ConfigError(
            f"`training=True`: {plan.target.path} is an exported graph, which cannot be trained",
            hint="Name its checkpoint, or its preset as one of `architectures`.",
        )
    if plan.runtime not in RUNTIMES_THAT_TRAIN:
        raise ConfigError(
            f"`training=True`: the runtime {plan.runtime} computes forward passes only",
            hint=f"For training: {', '.join(RUNTIMES_THAT_TRAIN)}",
        )


def _weigh(plans: list[RowPlan]) -> list[PlannedRow]:
    counted: dict[object, Complexity] = {}
    rows = []
    for plan in plans:
        spec = plan.target.spec
        # Counting takes a second or two for the large networks; rows share what they compute.
        key = (spec, plan.shape, plan.mode)
        if key not in counted:
            counted[key] = count_complexity(spec, plan.shape, training=plan.is_training)
        row = weigh(plan, counted[key])
        _require_memory(row)
        rows.append(row)
    return rows


def weigh(plan: RowPlan, complexity: Complexity) -> PlannedRow:
    """A row with the memory that it takes."""
    return PlannedRow(plan, complexity, estimate_need(plan, complexity))


def _require_memory(row: PlannedRow) -> None:
    have = available(row.plan.device)
    for place, needed, there in (
        ("this machine has", row.need.host, have.host),
        ("the device has", row.need.device, have.device),
    ):
        if needed > there:
            raise DataError(
                f"{row.plan}: needs about {needed / 1024:,.1f} GiB, "
                f"and {place} {there / 1024:,.1f} GiB",
                hint="Choose smaller `sizes` or `batch_sizes`.",
            )


def group_rows(rows: list[PlannedRow], share: float = 0.6) -> list[list[PlannedRow]]:
    """Split rows into groups whose processes fit into memory together.

    Args:
        rows: The rows; each alone fits.
        share: The part of the memory that a group may take. The rest is for what else runs, and for
            what the estimates leave out.
    """
    groups: list[list[PlannedRow]] = []
    host = device = 0.0
    for row in rows:
        have = available(row.plan.device)
        host, device = host + row.need.host, device + row.need.device
        # A row on the CPU has nothing to do with what others take of an accelerator.
        is_device_full = row.need.device > 0 and device > share * have.device
        if not groups or host > share * have.host or is_device_full:
            groups.append([])
            host, device = row.need.host, row.need.device
        groups[-1].append(row)
    return groups
