"""The job `benchmark`: from names of networks to what they cost and how fast they run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from lunet_cli.config.options import BenchOptions
from lunet_cli.engine.benchmarking.comparison import require_baseline, with_ratios
from lunet_cli.engine.benchmarking.complexity import saved_bytes
from lunet_cli.engine.benchmarking.latency import summarize_times
from lunet_cli.engine.benchmarking.load import busy_cores
from lunet_cli.engine.benchmarking.measuring import prepare_selection
from lunet_cli.engine.benchmarking.memory import activation_mib
from lunet_cli.engine.benchmarking.plan import PlannedRow, group_rows, plan_rows, weigh
from lunet_cli.engine.benchmarking.roofline import Probe, prepare_probe
from lunet_cli.engine.benchmarking.round_robin import Timings, measure_round_robin, report_failure
from lunet_cli.engine.benchmarking.row_plan import AUTO, RowPlan
from lunet_cli.engine.benchmarking.targets import BenchTarget
from lunet_cli.engine.benchmarking.workers import Worker
from lunet_cli.engine.networks.execution import DTYPES
from lunet_cli.engine.provenance import machine_name, versions
from lunet_cli.engine.runtimes.runtime import RuntimePlan
from lunet_cli.errors import LunetError
from lunet_cli.results.benchmarking import BenchResult, BenchRow, BenchStarted, Roofline
from lunet_cli.results.events import CaseFailed, Event, Notice, WarningIssued

OnEvent = Callable[[Event], None]

# Threads that wait for each other suffer from one busy core far more than by its share.
_BUSY_CORES = 0.3


def benchmark(options: BenchOptions, *, on_event: OnEvent = lambda event: None) -> BenchResult:
    """Measure networks.

    Every row is computed in a process of its own. A script that calls this needs `if __name__ ==
    "__main__":`.

    Args:
        options: What to measure.
        on_event: Told of progress and of rows that fail.

    Raises:
        LunetError: Something cannot be measured as asked; nothing has been measured then.

    Example:
        >>> presets = ["lunet_small_1f"]
        >>> options = lunet.BenchOptions(architectures=presets, sizes=[16], timed_runs=2)
        >>> result = lunet.benchmark(options)
        >>> [(row.name, row.parameters, row.num_runs) for row in result.rows]
        [('lunet_small_1f', 686, 2)]
    """
    rows, warnings = plan_rows(options)
    require_baseline(options.baseline, [row.plan for row in rows])
    for warning in [*warnings, *_disagreements(rows), *_disturbances()]:
        on_event(warning)
    rows, failures = _settle_runtimes(rows, on_event)
    rooflines, timings = _measure(rows, on_event)
    measured = []
    for row in rows:
        timing = timings[row.plan]
        if isinstance(timing, CaseFailed):
            failures.append(timing)
        else:
            measured.append(_result_of(row, timing, rooflines[_probe_of(row.plan)]))
    compared, baseline = with_ratios(measured, options.baseline)
    if measured and not baseline:
        on_event(
            WarningIssued(
                f"`baseline={options.baseline}`: no row that was measured is that, "
                "so there are no ratios"
            )
        )
    return BenchResult(
        tuple(compared),
        tuple(failures),
        tuple(rooflines.values()),
        machine_name(),
        versions(),
        baseline,
    )


def _measure(
    rows: list[PlannedRow], on_event: OnEvent
) -> tuple[dict[Probe, Roofline], dict[RowPlan, Timings | CaseFailed]]:
    """What the machine reaches at best, and the times of each row."""
    groups = group_rows(rows)
    on_event(BenchStarted(len(rows), len(groups)))
    # Before the rows, while the machine does nothing else.
    rooflines = _measure_rooflines([row.plan for row in rows])
    timings: dict[RowPlan, Timings | CaseFailed] = {}
    for group in groups:
        plans = [row.plan for row in group]
        timings |= measure_round_robin(plans, on_event, num_before=len(timings), num_rows=len(rows))
    return rooflines, timings


def _disagreements(rows: Sequence[PlannedRow]) -> list[WarningIssued]:
    warnings = {}
    for row in rows:
        if not row.complexity.is_confirmed:
            name = row.plan.target.arch
            warnings[name] = WarningIssued(
                f"{name}: torch and ptflops count different numbers of multiply-accumulates"
            )
    return list(warnings.values())


def _disturbances() -> list[WarningIssued]:
    busy = busy_cores()
    if busy < _BUSY_CORES:
        return []
    return [
        WarningIssued(
            f"other processes keep {busy:.1f} CPU cores busy; times will be longer, "
            "and not comparable"
        )
    ]


def _settle_runtimes(
    rows: Sequence[PlannedRow], on_event: OnEvent
) -> tuple[list[PlannedRow], list[CaseFailed]]:
    """Replace the runtime `auto` by what `predict` takes for a long job."""
    settled: dict[RowPlan, PlannedRow] = {}
    failures = []
    for row in rows:
        plan = row.plan
        if plan.runtime == AUTO:
            try:
                selected = _selected(plan)
            except LunetError as error:
                failures.append(report_failure(plan, error, on_event))
                continue
            on_event(Notice(f"{plan}: {selected} is taken"))
            plan = replace(plan, runtime=selected.runtime, precision=selected.precision)
        settled[plan] = weigh(plan, row.complexity)
    return list(settled.values()), failures


def _selected(plan: RowPlan) -> RuntimePlan:
    with Worker(str(plan), prepare_selection, plan, num_threads=plan.num_threads) as worker:
        return worker.ask(None)


def _probe_of(plan: RowPlan) -> Probe:
    return Probe(plan.device, plan.num_threads, plan.largest_precision)


def _measure_rooflines(plans: Sequence[RowPlan]) -> dict[Probe, Roofline]:
    rooflines = {}
    for probe in dict.fromkeys(map(_probe_of, plans)):
        with Worker(str(probe), prepare_probe, probe, num_threads=probe.num_threads) as worker:
            rooflines[probe] = worker.ask(None)
    return rooflines


def _result_of(row: PlannedRow, timings: Timings, roofline: Roofline) -> BenchRow:
    plan, complexity = row.plan, row.complexity
    target, precision = plan.target, plan.largest_precision
    latency = summarize_times(timings.times_ms)
    gflop_per_s = complexity.flops / latency.median / 1e6
    traffic_bytes = complexity.traffic_values * DTYPES[precision].itemsize
    return BenchRow(
        arch=target.arch,
        source=None if target.path is None else str(target.path),
        mode=plan.mode,
        input_shape=plan.shape,
        out_channels=target.spec.out_channels,
        runtime=plan.runtime,
        precision=plan.precision,
        device=plan.device,
        num_threads=plan.num_threads,
        parameters=complexity.parameters,
        macs=complexity.macs,
        flops=complexity.flops,
        ptflops_macs=complexity.ptflops_macs,
        size_on_disk_bytes=_size_on_disk(target),
        activation_mib=activation_mib(target.spec, plan.shape, precision, complexity),
        latency_ms=latency,
        num_runs=len(timings.times_ms),
        throughput_per_s=1000 * plan.shape[0] / latency.median,
        gflop_per_s=gflop_per_s,
        peak_share=gflop_per_s / roofline.gflop_per_s,
        bandwidth_share=traffic_bytes / latency.median / 1e6 / roofline.copy_gb_per_s,
        peak_memory_mib=timings.peak_mib,
        energy_j=timings.energy_j,
    )


def _size_on_disk(target: BenchTarget) -> int:
    if target.path is None:
        return saved_bytes(target.spec)
    size = target.path.stat().st_size
    # OpenVINO keeps the weights beside the graph.
    if target.path.suffix == ".xml":
        size += target.path.with_suffix(".bin").stat().st_size
    return size
