"""`lunet bench`: what networks cost and how fast they run."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lunet_cli.cli.helping import AsJson
from lunet_cli.cli.wording import show_progress
from lunet_cli.errors import EXIT_FAILURE, ConfigError
from lunet_cli.results.words import visible_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lunet_cli.results.benchmarking import BenchResult, BenchRow

DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("fp32", "bf16", "fp16")
RUNTIMES = ("eager", "torch", "torch-compile", "onnx", "openvino", "auto")
_MAX_EDGE = 4096
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
Counts = list[int] | None


def bench(
    targets: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="TARGET", help="CONFIG (.yaml), CHECKPOINT, run folder, or exported file."
        ),
    ] = None,
    architectures: Annotated[
        list[str] | None,
        typer.Option(
            "--arch", metavar="NAME", help="A preset, such as lunet_small_4f; repeatable."
        ),
    ] = None,
    families: Annotated[
        list[str] | None,
        typer.Option(
            "--family",
            metavar="NAME",
            help="All named presets of a family, such as lunet; repeatable.",
        ),
    ] = None,
    all_presets: Annotated[bool, typer.Option("--all", help="All 29 named presets.")] = False,
    sizes: Annotated[
        list[str] | None,
        typer.Option(
            "--size", metavar="N|DxHxW", help="Voxels, such as 64 or 96x96x64; repeatable."
        ),
    ] = None,
    batches: Annotated[
        Counts, typer.Option("--batch", metavar="N", min=1, help="Samples per pass; repeatable.")
    ] = None,
    channels: Annotated[
        Counts, typer.Option("--channels", metavar="N", min=1, help="Image channels; repeatable.")
    ] = None,
    classes: Annotated[
        Counts, typer.Option("--classes", metavar="N", min=1, help="Output channels; repeatable.")
    ] = None,
    devices: Annotated[
        list[str] | None,
        typer.Option("--device", metavar="|".join(DEVICES), help="Where to compute; repeatable."),
    ] = None,
    threads: Annotated[
        Counts, typer.Option("--threads", metavar="N", min=1, help="CPU threads; repeatable.")
    ] = None,
    precisions: Annotated[
        list[str] | None,
        typer.Option(
            "--precision",
            metavar="|".join(PRECISIONS),
            help="Arithmetic; fp32 if not given; repeatable.",
        ),
    ] = None,
    runtimes: Annotated[
        list[str] | None,
        typer.Option(
            "--runtime",
            metavar="|".join(RUNTIMES),
            help="What computes; auto: what predict takes for a long job; torch if not given; repeatable.",
        ),
    ] = None,
    warmup: Annotated[
        int | None,
        typer.Option(metavar="N", min=0, help="Passes before the timed ones; 3 if not given."),
    ] = None,
    runs: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Timed passes of each row; 10 if not given."),
    ] = None,
    training: Annotated[
        bool,
        typer.Option("--train", help="Measure training steps: forward, soft Dice, backward, Adam."),
    ] = False,
    sort: Annotated[
        str, typer.Option(metavar="COLUMN", help=f"Order of the rows: {', '.join(SORT_KEYS)}.")
    ] = "latency",
    baseline: Annotated[
        str | None,
        typer.Option(
            metavar="NAME[/NAME]",
            help="What speed is compared with: a preset, runtime, precision or several; else the first row.",
        ),
    ] = None,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV instead of a table.")] = False,
    save: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write everything to this JSON file.")
    ] = None,
    compare: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Put the rows of a file made by --save beside the new ones."
        ),
    ] = None,
) -> None:
    """Measure networks: what they cost and how fast they run, one row for each combination of the options."""
    if sort not in SORT_KEYS:
        raise ConfigError(f"--sort {sort}: unknown column", hint=f"Known: {', '.join(SORT_KEYS)}")
    if as_json and as_csv:
        raise ConfigError("--json and --csv: choose one")
    chosen: dict[str, Any] = {
        "targets": tuple(targets or ()),
        "architectures": tuple(architectures or ()),
        "families": tuple(families or ()),
        "all_presets": all_presets,
        "sizes": tuple(parse_size(text) for text in sizes or ()),
        "batches": tuple(batches or ()),
        "channels": tuple(channels or ()),
        "classes": tuple(classes or ()),
        "devices": _known("--device", devices, DEVICES),
        "threads": tuple(threads or ()),
        "precisions": _known("--precision", precisions, PRECISIONS),
        "runtimes": _known("--runtime", runtimes, RUNTIMES),
    }
    from lunet_cli.engine.benchmarking.benchmark import benchmark
    from lunet_cli.engine.benchmarking.comparison import beside, load_saved, save_result
    from lunet_cli.engine.benchmarking.plan import BenchOptions
    from lunet_cli.records.files import require_place
    from lunet_cli.render.console import make_status_console

    options = BenchOptions(
        **chosen, warmup_runs=warmup, timed_runs=runs, training=training, baseline=baseline
    )
    if save is not None:
        require_place(save)
    saved = None if compare is None else load_saved(compare)
    status = make_status_console()
    with show_progress(status) as on_event:
        result = benchmark(options, on_event)
    if save is not None:
        save_result(result, save)
    rows = sorted(result.rows, key=SORT_KEYS[sort])
    if saved is not None:
        rows = beside(rows, saved)
        for remark in saved.remarks(rows, result.machine):
            status.print(f"warning: {remark}", style="yellow")
    _print_result(replace(result, rows=tuple(rows)), as_json=as_json, as_csv=as_csv)
    if result.failures:
        raise typer.Exit(EXIT_FAILURE)


def parse_size(text: str) -> tuple[int, int, int]:
    """Voxels (D, H, W) from `64` or `96x96x64`.

    Raises:
        ConfigError: It is neither.
    """
    match = re.fullmatch(r"(\d{1,4})(?:x(\d{1,4})x(\d{1,4}))?", text.lower(), re.ASCII)
    edges = [int(edge) for edge in match.groups() if edge] if match else []
    if not edges or not all(1 <= edge <= _MAX_EDGE for edge in edges):
        raise ConfigError(f"--size {text}: is not a size", hint="Write 64 or 96x96x64 (z, y, x).")
    depth, height, width = edges * 3 if len(edges) == 1 else edges
    return depth, height, width


def _known(option: str, values: Sequence[str] | None, known: Sequence[str]) -> tuple[str, ...]:
    for value in values or ():
        if value not in known:
            raise ConfigError(
                f"{option} {value}: is none of its values", hint=f"Known: {', '.join(known)}"
            )
    return tuple(values or ())


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
    lines = []
    for row in rows:
        values = asdict(row)
        values["input_shape"] = "x".join(map(str, row.input_shape))
        latency = {f"latency_ms_{name}": value for name, value in values.pop("latency_ms").items()}
        lines.append({**values, **latency})
    text = io.StringIO()
    writer = csv.DictWriter(text, list(lines[0]) if lines else [], lineterminator="\n")
    if lines:
        writer.writeheader()
        writer.writerows(lines)
    return text.getvalue()
