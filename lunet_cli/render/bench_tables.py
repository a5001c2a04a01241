"""Measurements as tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from lunet_cli.results.benchmarking import BenchResult, BenchRow
from lunet_cli.results.words import plural, visible

_MIB = 2**20
_COST_SETTINGS = ("size", "batch", "channels", "precision")


def bench_table(result: BenchResult) -> RenderableType:
    """What each network costs, how fast it runs, and, beside an earlier measurement, what has changed."""
    if not result.rows:
        return Text("nothing was measured", style="bold")
    varying = _varying(result.rows)
    parts: list[RenderableType] = [
        _head(result, varying),
        Text(),
        _cost_table(result.rows, varying),
    ]
    parts += [Text(), _speed_table(result.rows, varying)]
    if any(row.before_ms is not None for row in result.rows):
        parts += [Text(), _change_table(result.rows, varying)]
    return Group(*parts, Text(), _notes(result))


def _head(result: BenchResult, varying: set[str]) -> Text:
    """What all rows have in common, and where they were measured."""
    shared = [text for name, text in result.rows[0].settings.items() if name not in varying]
    return Text.assemble(
        (visible(", ".join(shared)), "bold"), "\n", (visible(result.machine), "dim")
    )


def _cost_table(rows: Sequence[BenchRow], varying: set[str]) -> Table:
    table = _columns("network", "parameters", "size", "GMAC", "GFLOP", "activations\nMiB")
    shown = varying & set(_COST_SETTINGS)
    cells = [
        (
            _label(row, shown),
            f"{row.parameters:,}",
            _bytes(row.size_on_disk_bytes),
            _digits(row.macs / 1e9),
            _digits(row.flops / 1e9),
            _digits(row.activation_mib),
        )
        for row in rows
    ]
    for label, *numbers in {str(line[0]): line for line in cells}.values():
        table.add_row(label, *numbers)
    return table


def _speed_table(rows: Sequence[BenchRow], varying: set[str]) -> Table:
    names = ["", "ms", "IQR", "p95", "per s", "GFLOP\n/s", "% of\npeak", "% of\ncopy", "peak\nMiB"]
    has_energy = any(row.energy_j is not None for row in rows)
    has_ratio = any(row.ratio is not None for row in rows)
    table = _columns(
        *names, *(["J"] if has_energy else []), *(["times\nas fast"] if has_ratio else [])
    )
    for row in rows:
        latency = row.latency_ms
        numbers = [latency.median, latency.iqr, latency.p95, row.throughput_per_s, row.gflop_per_s]
        numbers += [100 * row.peak_share, 100 * row.bandwidth_share, row.peak_memory_mib]
        more = ["-" if row.energy_j is None else _digits(row.energy_j)] if has_energy else []
        more += ["-" if row.ratio is None else _digits(row.ratio)] if has_ratio else []
        median, *others = map(_digits, numbers)
        table.add_row(_label(row, varying), Text(median, style="bold"), *others, *more)
    return table


def _change_table(rows: Sequence[BenchRow], varying: set[str]) -> Table:
    table = _columns("", "before ms", "now ms", "now / before")
    for row in rows:
        before = [
            "-" if value is None else _digits(value) for value in (row.before_ms, row.before_ratio)
        ]
        table.add_row(
            _label(row, varying),
            before[0],
            _digits(row.latency_ms.median),
            Text(before[1], style="bold"),
        )
    return table


def _notes(result: BenchResult) -> Text:
    peaks = ", ".join(
        f"{_digits(roofline.gflop_per_s)} GFLOP/s in {roofline.precision} and {_digits(roofline.copy_gb_per_s)} GB/s"
        + (
            f" on {roofline.device} with {plural(roofline.num_threads, 'thread')}"
            if len(result.rooflines) > 1
            else ""
        )
        for roofline in result.rooflines
    )
    lines = [
        "MAC, FLOP: multiply-accumulates of the convolutions alone, 1 MAC = 2 FLOP; activations: estimated.",
        f"Median, interquartile range and 95th percentile of {_runs(result.rows)} in turns; per s: samples.",
        f"peak, copy: a matrix product and a copy of memory here reach {peaks}.",
    ]
    if result.baseline:
        lines.append(visible(f"times as fast: as {result.baseline}, by the medians."))
    return Text("\n".join(lines), style="dim")


def _runs(rows: Iterable[BenchRow]) -> str:
    numbers = sorted({row.num_runs for row in rows})
    if len(numbers) == 1:
        return plural(numbers[0], "pass", "passes")
    return f"{numbers[0]} to {numbers[-1]} passes"


def _varying(rows: Sequence[BenchRow]) -> set[str]:
    return {name for name in rows[0].settings if len({row.settings[name] for row in rows}) > 1}


def _label(row: BenchRow, shown: set[str]) -> Text:
    settings = "".join(f" {text}" for name, text in row.settings.items() if name in shown)
    return Text.assemble((visible(row.name), "bold"), visible(settings))


def _columns(*names: str) -> Table:
    """Numbers are never cut or folded: the first column gives way."""
    table = Table(
        box=None, pad_edge=False, padding=(0, 2, 0, 0) if len(names) < 8 else (0, 1, 0, 0)
    )
    for index, name in enumerate(names):
        is_first = index == 0
        heading = Text(name)  # which may have two lines
        table.add_column(
            heading, justify="left" if is_first else "right", overflow="fold", no_wrap=not is_first
        )
    return table


def _digits(value: float) -> str:
    """Three significant digits, and all those before the point."""
    if value >= 100 or value == 0:
        return f"{value:.0f}"
    if value >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if value >= 1 else f"{value:.3g}" if value >= 0.001 else f"{value:.1g}"


def _bytes(number: int) -> str:
    return f"{number / 1024:.0f} KiB" if number < _MIB else f"{number / _MIB:.1f} MiB"
