"""Results as tables."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from lunet_cli.config.metrics import METRICS as _METRICS
from lunet_cli.config.metrics import Metric
from lunet_cli.results.evaluation import CompareResult, EvalResult
from lunet_cli.results.exporting import ExportResult
from lunet_cli.results.prediction import PredictResult
from lunet_cli.results.training import DryRunResult, TrainResult
from lunet_cli.results.words import format_seconds, plural, visible

_UNDEFINED = """
undef.: cases where the prediction or the reference is empty. They have no
distance, and the mean leaves them out; penalized: the mean with the diagonal of
the volume, the largest distance possible, in their place."""
METRICS: dict[str, Metric] = {str(name): metric for name, metric in _METRICS.items()}


def presets_table(presets: Sequence[dict[str, Any]]) -> Table:
    """Presets as rows."""
    table = Table(
        title=plural(len(presets), "preset"), title_justify="left", box=None, pad_edge=False
    )
    table.add_column("preset", style="bold", no_wrap=True)
    table.add_column("family")
    for name in ("levels", "channels per level", "convs per block", "parameters"):
        table.add_column(name, justify="left" if name == "channels per level" else "right")
    for preset in presets:
        table.add_row(
            preset["name"],
            preset["family"],
            str(preset["levels"]),
            " ".join(map(str, preset["channels"])),
            str(preset["convs_per_block"]),
            f"{preset['parameters']:,}",
        )
    return table


def preset_levels(preset: dict[str, Any], levels: Sequence[dict[str, Any]]) -> RenderableType:
    """One preset, level by level, for an input of 64 x 64 x 64 voxels."""
    table = Table(box=None, pad_edge=False)
    for name in ("level", "channels", "voxels", "parameters", "share", "conv GFLOP"):
        table.add_column(name, justify="right")
    for level in levels:
        table.add_row(
            str(level["level"]),
            str(level["channels"]),
            f"{level['edge']}^3",
            f"{level['parameters']:,}",
            f"{level['parameters'] / preset['parameters']:.0%}",
            f"{level['flops'] / 1e9:.3f}",
        )
    table.add_section()
    table.add_row(
        "all", "", "", f"{preset['parameters']:,}", "", f"{preset['conv_flops_at_64'] / 1e9:.3f}"
    )
    head = Text.assemble(
        (preset["name"], "bold"),
        f": {preset['family']}, {preset['levels']} levels, {preset['convs_per_block']} convolutions per block, "
        "one image and one output channel, input 64 x 64 x 64",
    )
    yaml = Text(f"model:\n  architecture: {preset['name']}")
    return Group(
        head, Padding(table, (1, 0)), Text("In a configuration:"), Padding(yaml, (0, 0, 0, 2))
    )


def train_table(result: TrainResult) -> RenderableType:
    """How a training ended."""
    told = f"{result.architecture}, {result.num_parameters:,} parameters: {result.outcome}"
    title = Text(f"\n{visible(told)}", style="bold")
    table = _facts()
    if result.best is not None:
        table.add_row("best epoch", f"{result.best.epoch} of {len(result.history)}")
        table.add_row("validation Dice", Text(f"{result.best.val_dice:.4f}", style="bold green"))
        if len(result.best.val_dice_per_label) > 1:
            for name, value in result.best.val_dice_per_label.items():
                table.add_row(f"  {name}", f"{value:.4f}")
    for row in result.metrics:
        undefined = ""
        if row.leaves_out:
            undefined = f" ({row.num_undefined} undefined; penalized {_number(row.metric, row.penalized_mean)})"
        label = f" {row.label}" if len({other.label for other in result.metrics}) > 1 else ""
        table.add_row(
            f"{METRICS[row.metric].short}{label}", f"{_value(row.metric, row.mean)}{undefined}"
        )
    if result.latency_ms is not None:
        table.add_row("forward pass", f"{result.latency_ms:.1f} ms")
    table.add_row("time", format_seconds(result.seconds))
    table.add_row("run folder", str(result.run_dir))
    return Group(title, table)


def dry_run_table(result: DryRunResult) -> RenderableType:
    """What a training would cost."""
    title = Text(
        f"{result.architecture}, {result.num_parameters:,} parameters: dry run, nothing was written",
        "bold",
    )
    table = _facts()
    table.add_row("cases", f"{result.num_train} training, {result.num_val} validation")
    table.add_row(
        "patch",
        f"{' x '.join(map(str, result.patch_size))} voxels (z, y, x), {result.batch_size} per step",
    )
    table.add_row("computing in", result.plan)
    table.add_row("loss of the first step", f"{result.loss:.4f}")
    table.add_row(
        "memory of a step",
        f"{result.total_mib:,.0f} MiB, of which activations {result.activation_mib:,.0f}",
    )
    table.add_row("memory of all volumes", f"{result.cache_mib:,.0f} MiB")
    table.add_row("time per epoch", f"about {result.epoch_seconds:.1f} s")
    total = format_seconds(result.epoch_seconds * result.num_epochs)
    table.add_row("time in all", f"about {total} for {plural(result.num_epochs, 'epoch')}")
    return Group(title, table)


def eval_table(result: EvalResult) -> RenderableType:
    """Summaries of an evaluation: a row per label and metric."""
    table = _columns("", "mean", "sd", "median", "95 % CI of mean", "undef.")
    for column in table.columns:
        column.no_wrap = True
    table.add_column("worst case", overflow="fold")
    previous = ""
    for row in result.summaries:
        if row.label != previous:
            table.add_row(*([Text()] if previous else []))
            table.add_row(Text(visible(row.label), style="bold"))
        low, high = row.interval
        interval = (
            "" if math.isnan(low) else f"{_rough(row.metric, low)} to {_rough(row.metric, high)}"
        )
        metric = METRICS[row.metric]
        table.add_row(
            f"  {metric.title}",
            Text(_number(row.metric, row.mean), style="bold"),
            _rough(row.metric, row.sd),
            _rough(row.metric, row.median),
            interval,
            str(row.num_undefined),
            "".join(case for case, _ in row.worst[:1]),
        )
        if row.leaves_out:
            table.add_row("    penalized", _number(row.metric, row.penalized_mean))
        previous = row.label
    num_cases = len({score.case for score in result.scores})
    failed = f", {len(result.failures)} failed" if result.failures else ""
    told = visible(f"{result.title}: {plural(num_cases, 'case')}{failed}")
    head = Text(f"{told}\n", style="bold")
    place = visible(result.folder)
    end = Text(f"\nEvery case and every definition: {place}/metrics.csv, summary.json")
    if not num_cases:
        return head
    notes = (
        [Text(_UNDEFINED, style="dim")] if any(row.leaves_out for row in result.summaries) else []
    )
    return Group(head, table, *notes, end)


def compare_table(result: CompareResult) -> RenderableType:
    """Paired differences from the first run, and what each run costs."""
    short = METRICS[result.metric].short
    first, *_ = result.runs
    paired = _columns(
        "label", "run", visible(f"{short} minus that of {first.run}"), "95 % CI", "p", "cases"
    )
    for row in result.differences:
        low, high = row.interval
        interval = "" if math.isnan(low) else f"{low:+.4f} to {high:+.4f}"
        left_out = f" ({row.num_left_out} left out)" if row.num_left_out else ""
        p_value = "< 0.0001" if row.p_value < 1e-4 else f"{row.p_value:.4f}"
        paired.add_row(
            row.label, row.run, f"{row.mean:+.4f}", interval, p_value, f"{row.num_cases}{left_out}"
        )
    cost = _columns(
        "run", "network", f"mean {short}", "parameters", "front", "GFLOP at 64^3", "front"
    )
    for run in result.runs:
        cost.add_row(
            run.run,
            run.architecture,
            _number(result.metric, run.value),
            "" if run.parameters is None else f"{run.parameters:,}",
            Text("*" if run.on_parameter_front else "", style="bold green"),
            "" if run.flops is None else f"{run.flops / 1e9:.3f}",
            Text("*" if run.on_flop_front else "", style="bold green"),
        )
    notes = Text(
        f"Means are over {plural(first.num_cases, 'case')} with a value in every run.\n"
        "p: Wilcoxon signed-rank test over cases, two-sided, after Holm. CI: percentile bootstrap over cases.\n"
        "front *: no run is as good at a lower cost (Pareto).",
        style="dim",
    )
    return Group(paired, Text(), cost, Text(), notes)


def _value(metric: str, value: float) -> str:
    unit = METRICS[metric].unit
    return (
        "undefined"
        if math.isnan(value)
        else f"{_number(metric, value)}{f' {unit}' if unit else ''}"
    )


def _number(metric: str, value: float) -> str:
    """A value with the decimals of its metric."""
    return "-" if math.isnan(value) else f"{value:.{METRICS[metric].decimals}f}"


def _rough(metric: str, value: float) -> str:
    """Three decimals for ratios, two for mm and ml."""
    return "-" if math.isnan(value) else f"{value:.2f}" if METRICS[metric].unit else f"{value:.3f}"


def predict_table(result: PredictResult) -> RenderableType:
    """What a prediction wrote."""
    table = _columns("case", *(visible(f"{name} ml") for name in result.values), "seconds")
    has_remarks = any(case.remark for case in result.predicted)
    if has_remarks:
        table.add_column("remark", overflow="fold")
    for case in result.predicted:
        volumes = [f"{case.volume_ml[name]:.2f}" for name in result.values]
        remark = [Text(case.remark, style="yellow")] if has_remarks else []
        table.add_row(case.case, *volumes, f"{case.seconds:.1f}", *remark)
    counts = [f"{len(result.predicted)} segmented"]
    counts += [f"{len(result.skipped)} there already"] if result.skipped else []
    counts += [f"{len(result.failures)} failed"] if result.failures else []
    values = ", ".join(f"{value} {name}" for name, value in result.values.items())
    told = f"{', '.join(counts)}, in {result.plan}; label values: 0 background, {values}"
    end = Text(visible(told), style="bold")
    if not result.predicted:
        return end
    outputs = [case.output for case in result.predicted]
    place = (
        outputs[0]
        if len(outputs) == 1
        else os.path.commonpath([output.parent for output in outputs])
    )
    return Group(table, end, Text(f"written: {visible(place)}"))


def runtime_table(result: PredictResult) -> RenderableType:
    """Which runtimes were tried, and why one was taken."""
    if result.choice is None and not result.predicted:
        return Text("\nNothing was computed.")
    if result.choice is None:
        return Text(
            f"\nComputed with {visible(result.plan)}, as asked; --runtime auto tries others."
        )
    table = _columns("runtime", "difference")
    table.add_column("", overflow="fold")
    for trial in result.choice.trials:
        difference = "" if trial.difference is None else f"{trial.difference:.1e}"
        table.add_row(trial.name, difference, trial.verdict)
    note = Text(
        "difference: the largest of any probability from fp32 in PyTorch, on the first windows",
        style="dim",
    )
    told = visible(f"Computed with {result.choice.name}: {result.choice.reason}")
    return Group(Text(f"\n{told}"), table, note)


def export_table(result: ExportResult) -> RenderableType:
    """What an export wrote, and how it compares with PyTorch."""
    agreement = result.agreement
    table = _facts()
    table.add_row("written", Text("\n".join(map(visible, result.files))))
    table.add_row(
        "size", f"{result.size_on_disk_bytes / 1024:,.0f} kB, weights in {result.weights}"
    )
    table.add_row("compared on", f"{plural(agreement.num_cases, 'volume')} of {agreement.cases}")
    table.add_row(
        "probabilities", f"differ by at most {agreement.max_difference:.1e} from PyTorch in fp32"
    )
    table.add_row(
        "label maps",
        f"agree to a Dice of {agreement.dice:.4f}, and of {agreement.documented_dice:.4f} by the script of "
        "docs/export.md (lowest of the volumes)",
    )
    ratio = agreement.eager_ms / agreement.exported_ms
    table.add_row(
        "time of a window",
        f"{agreement.exported_ms:.1f} ms with {result.runtime}, {agreement.eager_ms:.1f} ms in plain PyTorch "
        f"({ratio:.1f} times as fast)",
    )
    return Group(Text(visible(f"{result.architecture} as {result.format}"), style="bold"), table)


def predict_plan_table(result: PredictResult) -> RenderableType:
    """What a prediction would take."""
    table = _columns("case", "voxels zyx", "network's", "window", "windows", "MiB", "about")
    for case in result.planned:
        sizes = ("x".join(map(str, edges)) for edges in (case.size, case.grid, case.window))
        table.add_row(
            case.case,
            *sizes,
            f"{case.num_windows:,}",
            f"{case.memory_mib:,.0f}",
            format_seconds(case.seconds or 0),
        )
    total = format_seconds(sum(case.seconds or 0 for case in result.planned))
    end = Text(
        f"{plural(len(result.planned), 'case')}, about {total} of computing in {result.plan}; nothing was written",
        style="bold",
    )
    return Group(table, end)


def _columns(*names: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for index, name in enumerate(names):
        table.add_column(Text(name), justify="left" if index == 0 else "right", overflow="fold")
    return table


def _facts() -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    return table
