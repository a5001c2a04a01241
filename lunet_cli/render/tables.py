"""Results as tables."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from lunet_cli.config.metrics import METRICS as _METRICS
from lunet_cli.config.metrics import Metric
from lunet_cli.results.evaluation import (
    ComparedRun,
    CompareResult,
    EvalResult,
    MetricSummary,
    PairedDifference,
)
from lunet_cli.results.exporting import ExportResult
from lunet_cli.results.prediction import CasePredicted, PredictResult
from lunet_cli.results.training import DryRunResult, TrainResult
from lunet_cli.results.words import format_seconds, plural, visible

_UNDEFINED = """
undef.: cases where the prediction or the reference is empty. They have no
distance, and the mean leaves them out; penalized: the mean with the diagonal of
the volume, the largest distance possible, in their place."""
METRICS: dict[str, Metric] = {str(name): metric for name, metric in _METRICS.items()}


def train_table(result: TrainResult) -> RenderableType:
    """How a training ended."""
    told = f"{result.architecture}, {result.num_parameters:,} parameters: {result.outcome}"
    title = Text(f"\n{visible(told)}", style="bold")
    table = _facts()
    best = result.best
    if best is not None:
        table.add_row("best epoch", f"{best.epoch} of {len(result.history)}")
        table.add_row("validation Dice", Text(f"{best.val_dice:.4f}", style="bold green"))
        if len(best.val_dice_per_label) > 1:
            for name, value in best.val_dice_per_label.items():
                table.add_row(f"  {name}", f"{value:.4f}")
    if result.one_pass_dice is not None:
        table.add_row("in one pass", f"{result.one_pass_dice:.4f}")
    _add_metrics(table, result.metrics)
    if result.latency_ms is not None:
        table.add_row("forward pass", f"{result.latency_ms:.1f} ms")
    table.add_row("time", format_seconds(result.seconds))
    table.add_row("run folder", str(result.run_dir))
    return Group(title, table)


def _add_metrics(table: Table, summaries: Sequence[MetricSummary]) -> None:
    """A row for each metric of each label; a single label needs no name."""
    has_several = len({row.label for row in summaries}) > 1
    for row in summaries:
        name = METRICS[row.metric].short
        if has_several:
            name += f" {row.label}"
        value = _value(row.metric, row.mean)
        if row.leaves_out:
            penalized = _number(row.metric, row.penalized_mean)
            value += f" ({row.num_undefined} undefined; penalized {penalized})"
        table.add_row(name, value)


def dry_run_table(result: DryRunResult) -> RenderableType:
    """What a training would cost."""
    network = f"{result.architecture}, {result.num_parameters:,} parameters"
    title = Text(f"{network}: dry run, nothing was written", "bold")
    patch = " x ".join(map(str, result.patch_size))
    total = format_seconds(result.epoch_seconds * result.num_epochs)
    activations = f"of which activations {result.activation_mib:,.0f}"
    table = _facts()
    table.add_row("cases", f"{result.num_train} training, {result.num_val} validation")
    table.add_row("patch", f"{patch} voxels (z, y, x), {result.batch_size} per step")
    table.add_row("computing in", result.plan)
    table.add_row("loss of the first step", f"{result.loss:.4f}")
    table.add_row("memory of a step", f"{result.total_mib:,.0f} MiB, {activations}")
    table.add_row("memory of all volumes", f"{result.cache_mib:,.0f} MiB")
    table.add_row("time per epoch", f"about {result.epoch_seconds:.1f} s")
    table.add_row("time in all", f"about {total} for {plural(result.num_epochs, 'epoch')}")
    return Group(title, table)


def eval_table(result: EvalResult) -> RenderableType:
    """Summaries of an evaluation: a row per label and metric."""
    num_cases = len({score.case for score in result.scores})
    told = f"{result.title}: {plural(num_cases, 'case')}"
    if result.failures:
        told += f", {len(result.failures)} failed"
    parts: list[RenderableType] = [Text(f"{visible(told)}\n", style="bold")]
    if num_cases:
        parts.append(_summary_table(result.summaries))
        if any(row.leaves_out for row in result.summaries):
            parts.append(Text(_UNDEFINED, style="dim"))
        place = visible(result.folder)
        parts.append(Text(f"\nEvery case and every definition: {place}/metrics.csv, summary.json"))
    return Group(*parts)


def _summary_table(summaries: Sequence[MetricSummary]) -> Table:
    table = _columns("", "mean", "sd", "median", "95 % CI of mean", "undef.")
    for column in table.columns:
        column.no_wrap = True
    table.add_column("worst case", overflow="fold")
    label = ""
    for row in summaries:
        if row.label != label:
            table.add_row()
            table.add_row(Text(visible(row.label), style="bold"))
            label = row.label
        _add_summary(table, row)
    return table


def _add_summary(table: Table, row: MetricSummary) -> None:
    worst = ""
    if row.worst:
        worst, _ = row.worst[0]
    table.add_row(
        f"  {METRICS[row.metric].title}",
        Text(_number(row.metric, row.mean), style="bold"),
        _rough(row.metric, row.sd),
        _rough(row.metric, row.median),
        _interval(row),
        str(row.num_undefined),
        worst,
    )
    if row.leaves_out:
        table.add_row("    penalized", _number(row.metric, row.penalized_mean))


def _interval(row: MetricSummary) -> str:
    low, high = row.interval
    if math.isnan(low):
        return ""
    return f"{_rough(row.metric, low)} to {_rough(row.metric, high)}"


def compare_table(result: CompareResult) -> RenderableType:
    """Paired differences from the first run, and what each run costs."""
    title = METRICS[result.metric].title
    first, *_ = result.runs
    difference = visible(f"{title} minus that of {first.run}")
    paired = _columns("label", "run", difference, "95 % CI", "p", "cases")
    for row in result.differences:
        _add_difference(paired, row)
    columns = ("run", "network", f"mean {title}", "parameters", "front", "GFLOP at 64^3", "front")
    cost = _columns(*columns)
    for run in result.runs:
        _add_run(cost, run, result.metric)
    notes = Text(
        f"Means are over {plural(first.num_cases, 'case')} with a value in every run.\n"
        "p: Wilcoxon signed-rank test over cases, two-sided, after Holm."
        " CI: percentile bootstrap over cases.\n"
        "front *: no run is as good at a lower cost (Pareto).",
        style="dim",
    )
    return Group(paired, Text(), cost, Text(), notes)


def _add_difference(table: Table, row: PairedDifference) -> None:
    low, high = row.interval
    interval = ""
    if not math.isnan(low):
        interval = f"{low:+.4f} to {high:+.4f}"
    p_value = f"{row.p_value:.4f}"
    # Below four decimals, the size of a p value tells nothing more.
    if row.p_value < 1e-4:
        p_value = "< 0.0001"
    cases = str(row.num_cases)
    if row.num_left_out:
        cases += f" ({row.num_left_out} left out)"
    table.add_row(row.label, row.run, f"{row.mean:+.4f}", interval, p_value, cases)


def _add_run(table: Table, run: ComparedRun, metric: str) -> None:
    parameters = gflop = ""
    if run.parameters is not None:
        parameters = f"{run.parameters:,}"
    if run.flops is not None:
        gflop = f"{run.flops / 1e9:.3f}"
    table.add_row(
        run.run,
        run.architecture,
        _number(metric, run.value),
        parameters,
        _star(run.on_parameter_front),
        gflop,
        _star(run.on_flop_front),
    )


def _star(is_on_front: bool) -> Text:
    return Text("*" * is_on_front, style="bold green")


def _value(metric: str, value: float) -> str:
    if math.isnan(value):
        return "undefined"
    return f"{_number(metric, value)} {METRICS[metric].unit}".rstrip()


def _number(metric: str, value: float) -> str:
    """A value with the decimals of its metric."""
    if math.isnan(value):
        return "-"
    return f"{value:.{METRICS[metric].decimals}f}"


def _rough(metric: str, value: float) -> str:
    """Three decimals for ratios, two for mm and ml."""
    if math.isnan(value):
        return "-"
    if METRICS[metric].unit:
        return f"{value:.2f}"
    return f"{value:.3f}"


def predict_table(result: PredictResult) -> RenderableType:
    """What a prediction wrote."""
    counts = f"{len(result.predicted)} segmented"
    if result.skipped:
        counts += f", {len(result.skipped)} there already"
    if result.failures:
        counts += f", {len(result.failures)} failed"
    values = ", ".join(f"{value} {name}" for name, value in result.values.items())
    told = f"{counts}, in {result.plan}; label values: 0 background, {values}"
    end = Text(visible(told), style="bold")
    if not result.predicted:
        return end
    place = visible(_common_place(result.predicted))
    return Group(_volumes_table(result), end, Text(f"written: {place}"))


def _volumes_table(result: PredictResult) -> Table:
    table = _columns("case", *(visible(f"{name} ml") for name in result.values), "seconds")
    has_remarks = any(case.remark for case in result.predicted)
    if has_remarks:
        table.add_column("remark", overflow="fold")
    for case in result.predicted:
        cells: list[str | Text] = [f"{case.volume_ml[name]:.2f}" for name in result.values]
        cells.append(f"{case.seconds:.1f}")
        if has_remarks:
            cells.append(Text(case.remark, style="yellow"))
        table.add_row(case.case, *cells)
    return table


def _common_place(cases: Sequence[CasePredicted]) -> Path | str:
    """The file that was written, or the folder of all of them."""
    if len(cases) == 1:
        return cases[0].output
    # Inputs from several folders are written into as many.
    return os.path.commonpath([case.output.parent for case in cases])


def runtime_table(result: PredictResult, reword: Callable[[str], str] = str) -> RenderableType:
    """Which runtimes were tried, and why one was taken.

    Args:
        result: What a prediction ended with.
        reword: Applied to what is said of fields.
    """
    choice = result.choice
    if choice is None and not result.predicted:
        return Text("\nNothing was computed.")
    if choice is None:
        others = reword("`runtime=auto` tries others.")
        return Text(f"\nComputed with {visible(result.plan)}, as asked; {others}")
    table = _columns("runtime", "difference")
    table.add_column("", overflow="fold")
    for trial in choice.trials:
        difference = ""
        if trial.difference is not None:
            difference = f"{trial.difference:.1e}"
        table.add_row(trial.name, difference, reword(trial.verdict))
    note = Text(
        "difference: the largest of any probability from fp32 in PyTorch, on the first windows",
        style="dim",
    )
    told = visible(f"Computed with {choice.name}: {reword(choice.reason)}")
    return Group(Text(f"\n{told}"), table, note)


def export_table(result: ExportResult) -> RenderableType:
    """What an export wrote, and how it compares with PyTorch."""
    agreement = result.agreement
    size = f"{result.size_on_disk_bytes / 1024:,.0f} kB"
    difference = f"{agreement.max_difference:.1e}"
    ratio = agreement.eager_ms / agreement.exported_ms
    table = _facts()
    table.add_row("written", Text("\n".join(map(visible, result.files))))
    table.add_row("size", f"{size}, weights in {result.weights}")
    table.add_row("compared on", f"{plural(agreement.num_cases, 'volume')} of {agreement.cases}")
    table.add_row("probabilities", f"differ by at most {difference} from PyTorch in fp32")
    table.add_row(
        "label maps",
        f"agree to a Dice of {agreement.dice:.4f}, and of {agreement.documented_dice:.4f} by the"
        " script of docs/export.md (lowest of the volumes)",
    )
    table.add_row(
        "time of a window",
        f"{agreement.exported_ms:.1f} ms with {result.runtime}, {agreement.eager_ms:.1f} ms in"
        f" plain PyTorch ({ratio:.1f} times as fast)",
    )
    return Group(Text(visible(f"{result.architecture} as {result.format}"), style="bold"), table)


def predict_plan_table(result: PredictResult) -> RenderableType:
    """What a prediction would take."""
    table = _columns("case", "voxels zyx", "network's", "window", "windows", "MiB", "about")
    total_seconds = 0.0
    for case in result.planned:
        seconds = case.seconds or 0.0
        total_seconds += seconds
        table.add_row(
            case.case,
            "x".join(map(str, case.size)),
            "x".join(map(str, case.grid)),
            "x".join(map(str, case.window)),
            f"{case.num_windows:,}",
            f"{case.memory_mib:,.0f}",
            format_seconds(seconds),
        )
    cases, total = plural(len(result.planned), "case"), format_seconds(total_seconds)
    told = f"{cases}, about {total} of computing in {result.plan}; nothing was written"
    return Group(table, Text(told, style="bold"))


def _columns(*names: str) -> Table:
    """A column for each name: words in the first, numbers in the others."""
    table = Table(box=None, pad_edge=False)
    first, *others = names
    # As `Text`: a string of a stranger could be markup in a heading.
    table.add_column(Text(first), overflow="fold")
    for name in others:
        table.add_column(Text(name), justify="right", overflow="fold")
    return table


def _facts() -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    return table
