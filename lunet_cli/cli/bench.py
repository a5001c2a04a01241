"""`lunet bench`: what networks cost and how fast they run."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lunet_cli.cli.helping import AsJson
from lunet_cli.cli.options import complete_model, option
from lunet_cli.cli.wording import show_progress
from lunet_cli.config.options import BenchOptions
from lunet_cli.config.vocabulary import DEVICES, PRECISIONS, RUNTIMES
from lunet_cli.errors import EXIT_FAILURE, ConfigError
from lunet_cli.results.words import visible_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lunet_cli.results.benchmarking import BenchResult, BenchRow

# The best first.
SORT_KEYS: dict[str, Callable[[BenchRow], Any]] = {
    "latency": lambda row: row.latency_ms.median,
    "name": lambda row: row.name,
    "p95": lambda row: row.latency_ms.p95,
    "throughput": lambda row: -row.throughput_per_s,
    "parameters": lambda row: row.parameters,
    "macs": lambda row: row.macs,
    "flops": lambda row: row.flops,
    "size": lambda row: row.size_on_disk_bytes,
    "activations": lambda row: row.activation_mib,
    "memory": lambda row: row.peak_memory_mib,
}


_field = partial(option, BenchOptions)
Texts = list[str] | None
Counts = list[int] | None
Targets = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="TARGET",
        help="CONFIG (.yaml), CHECKPOINT, run folder, exported file, or name of lunet models list.",
        autocompletion=complete_model,
    ),
]
Precisions = Annotated[Texts, _field("precisions", "--precision", metavar="|".join(PRECISIONS))]
Runtimes = Annotated[Texts, _field("runtimes", "--runtime", metavar="|".join((*RUNTIMES, "auto")))]
Sort = Annotated[
    str, typer.Option(metavar="COLUMN", help=f"Order of the rows: {', '.join(SORT_KEYS)}.")
]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print CSV instead of a table.")]
Save = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write everything to this JSON file.")
]
Compare = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Put the rows of a file made by --save beside the new ones."),
]


def bench(
    targets: Targets = None,
    architectures: Annotated[Texts, _field("architectures", "--arch", metavar="NAME")] = None,
    families: Annotated[Texts, _field("families", "--family", metavar="NAME")] = None,
    all_presets: Annotated[bool, _field("all_presets", "--all")] = False,
    sizes: Annotated[Texts, _field("sizes", "--size", metavar="N|DxHxW")] = None,
    batch_sizes: Annotated[Counts, _field("batch_sizes", "--batch-size", metavar="N")] = None,
    channels: Annotated[Counts, _field("channels", metavar="N")] = None,
    classes: Annotated[Counts, _field("classes", metavar="N")] = None,
    devices: Annotated[Texts, _field("devices", "--device", metavar="|".join(DEVICES))] = None,
    threads: Annotated[Counts, _field("threads", metavar="N")] = None,
    precisions: Precisions = None,
    runtimes: Runtimes = None,
    warmup_runs: Annotated[int | None, _field("warmup_runs", "--warmup", metavar="N")] = None,
    timed_runs: Annotated[int | None, _field("timed_runs", "--runs", metavar="N")] = None,
    training: Annotated[bool, _field("training", "--train")] = False,
    sort: Sort = "latency",
    baseline: Annotated[str | None, _field("baseline", metavar="NAME[/NAME]")] = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
    save: Save = None,
    compare: Compare = None,
) -> None:
    """Measure networks: what they cost and how fast they run.

    Networks, sizes, devices and the like may be given several times; each combination makes a row.
    """
    if sort not in SORT_KEYS:
        raise ConfigError(f"--sort {sort}: unknown column", hint=f"Known: {', '.join(SORT_KEYS)}")
    if as_json and as_csv:
        raise ConfigError("--json and --csv: choose one")
    options = BenchOptions(
        targets=targets,
        architectures=architectures,
        families=families,
        all_presets=all_presets,
        sizes=sizes,
        batch_sizes=batch_sizes,
        channels=channels,
        classes=classes,
        devices=devices,
        threads=threads,
        precisions=precisions,
        runtimes=runtimes,
        warmup_runs=warmup_runs,
        timed_runs=timed_runs,
        training=training,
        baseline=baseline,
    )
    result = _measure(options, save=save, compare=compare)
    rows = sorted(result.rows, key=SORT_KEYS[sort])
    _print_result(replace(result, rows=tuple(rows)), as_json=as_json, as_csv=as_csv)
    if result.failures:
        raise typer.Exit(EXIT_FAILURE)


def _measure(options: BenchOptions, *, save: Path | None, compare: Path | None) -> BenchResult:
    """Measure, keep the result in a file, and put that of another file beside it."""
    from lunet_cli.engine.benchmarking.benchmark import benchmark
    from lunet_cli.engine.benchmarking.comparison import beside, load_saved, save_result
    from lunet_cli.records.files import require_place
    from lunet_cli.render.console import make_status_console

    # What is wrong with the files is said before minutes are spent.
    if save is not None:
        require_place(save)
    saved = None
    if compare is not None:
        saved = load_saved(compare)
    status = make_status_console()
    with show_progress(status) as on_event:
        result = benchmark(options, on_event=on_event)
    if save is not None:
        save_result(result, save)
    if saved is None:
        return result
    rows = beside(result.rows, saved)
    for remark in saved.remarks(rows, result.machine):
        status.print(f"warning: {remark}", style="yellow")
    return replace(result, rows=tuple(rows))


def _print_result(result: BenchResult, *, as_json: bool, as_csv: bool) -> None:
    if as_json:
        from lunet_cli.records.record import json_text

        typer.echo(json_text(result.rows), nl=False)
    elif as_csv:
        typer.echo(visible_lines(_to_csv(result.rows)), nl=False)
    else:
        from lunet_cli.render.bench_tables import bench_table
        from lunet_cli.render.console import make_console

        make_console().print(bench_table(result))


def _to_csv(rows: Sequence[BenchRow]) -> str:
    """One column per number: the latencies have three, the shape is one text."""
    if not rows:
        return ""
    lines = []
    for row in rows:
        values = asdict(row)
        values["input_shape"] = "x".join(map(str, row.input_shape))
        for name, value in values.pop("latency_ms").items():
            values[f"latency_ms_{name}"] = value
        lines.append(values)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()
