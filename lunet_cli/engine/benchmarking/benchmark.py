"""The job `benchmark`: from names of networks to what they cost and how fast they run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from lunet_cli.engine.benchmarking.comparison import require_baseline, with_ratios
from lunet_cli.engine.benchmarking.complexity import saved_bytes
from lunet_cli.engine.benchmarking.latency import summarize_times
from lunet_cli.engine.benchmarking.load import busy_cores
from lunet_cli.engine.benchmarking.measuring import prepare_selection
from lunet_cli.engine.benchmarking.memory import BYTES, activation_mib
from lunet_cli.engine.benchmarking.plan import (
    BenchOptions,
    PlannedRow,
    group_rows,
    plan_rows,
    weigh,
)
from lunet_cli.engine.benchmarking.roofline import Probe, prepare_probe
from lunet_cli.engine.benchmarking.round_robin import Timings, measure_round_robin, report_failure
from lunet_cli.engine.benchmarking.rows import AUTO, RowPlan
from lunet_cli.engine.benchmarking.subjects import Subject
from lunet_cli.engine.benchmarking.workers import Worker
from lunet_cli.engine.networks.execution import machine_name
from lunet_cli.engine.provenance import versions
from lunet_cli.engine.runtimes.runtime import RuntimePlan
from lunet_cli.errors import LunetError
from lunet_cli.results.benchmarking import BenchResult, BenchRow, BenchStarted, Roofline
from lunet_cli.results.events import CaseFailed, Event, Notice, WarningIssued

OnEvent = Callable[[Event], None]

_BUSY_CORES = (
    0.3  # Threads that wait for each other suffer from one busy core far more than by its share.
)


def benchmark(options: BenchOptions, on_event: OnEvent = lambda event: None) -> BenchResult:
    """Measure networks.

    Every row is computed in a process of its own. A script that calls this needs `if __name__ ==
    "__main__":`.

    Args:
        options: What to measure.
        on_event: Told of progress and of rows that fail.

    Raises:
        LunetError: Something cannot be measured as asked; nothing has been measured then.
    """
    rows, warnings = plan_rows(options)
    require_baseline(options.baseline, [row.plan for row in rows])
    for warning in [*warnings, *_disagreements(rows), *_disturbances()]:
        on_event(warning)
    rows, failures = _settle_runtimes(rows, on_event)
    groups = group_rows(rows)
    on_event(BenchStarted(len(rows), len(groups)))
    rooflines = _measure_rooflines([row.plan for row in rows])
    timings: dict[RowPlan, Timings | CaseFailed] = {}
    for group in groups:
        plans = [row.plan for row in group]
        timings |= measure_round_robin(plans, on_event, num_before=len(timings), num_rows=len(rows))
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
                f"--baseline {options.baseline}: no row that was measured is that, so there are no ratios"
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


def _disagreements(rows: Sequence[PlannedRow]) -> list[WarningIssued]:
    doubtful = dict.fromkeys(
        row.plan.subject.arch for row in rows if not row.complexity.is_confirmed
    )
    return [
        WarningIssued(f"{name}: torch and ptflops count different numbers of multiply-accumulates")
        for name in doubtful
    ]


def _disturbances() -> list[WarningIssued]:
    busy = busy_cores()
    if busy is None or busy < _BUSY_CORES:
        return []
    return [
        WarningIssued(
            f"other processes keep {busy:.1f} CPU cores busy; times will be longer, and not comparable"
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
    return Probe(plan.device, plan.num_threads, plan.worst_precision)


def _measure_rooflines(plans: Sequence[RowPlan]) -> dict[Probe, Roofline]:
    rooflines = {}
    for probe in dict.fromkeys(map(_probe_of, plans)):
        with Worker(str(probe), prepare_probe, probe, num_threads=probe.num_threads) as worker:
            rooflines[probe] = worker.ask(None)
    return rooflines


def _result_of(row: PlannedRow, timings: Timings, roofline: Roofline) -> BenchRow:
    plan, complexity = row.plan, row.complexity
    subject, precision = plan.subject, plan.worst_precision
    latency = summarize_times(timings.times_ms)
    gflop_per_s = complexity.flops / latency.median / 1e6
    traffic_gb_per_s = complexity.traffic_values * BYTES[precision] / latency.median / 1e6
    return BenchRow(
        arch=subject.arch,
        source=None if subject.path is None else str(subject.path),
        mode=plan.mode,
        input_shape=plan.shape,
        out_channels=subject.spec.out_channels,
        runtime=plan.runtime,
        precision=plan.precision,
        device=plan.device,
        num_threads=plan.num_threads,
        parameters=complexity.parameters,
        macs=complexity.macs,
        flops=complexity.flops,
        ptflops_macs=complexity.ptflops_macs,
        size_on_disk_bytes=_size_on_disk(subject),
        activation_mib=activation_mib(subject.spec, plan.shape, precision, complexity),
        latency_ms=latency,
        num_runs=len(timings.times_ms),
        throughput_per_s=1000 * plan.shape[0] / latency.median,
        gflop_per_s=gflop_per_s,
        peak_share=gflop_per_s / roofline.gflop_per_s,
        bandwidth_share=traffic_gb_per_s / roofline.copy_gb_per_s,
        peak_memory_mib=timings.peak_mib,
        energy_j=timings.energy_j,
    )


def _size_on_disk(subject: Subject) -> int:
    if subject.path is None:
        return saved_bytes(subject.spec)
    beside = [subject.path.with_suffix(".bin")] if subject.path.suffix == ".xml" else []
    return sum(path.stat().st_size for path in (subject.path, *beside))
