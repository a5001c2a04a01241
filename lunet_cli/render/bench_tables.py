"""Measurements as tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from lunet_cli.results.benchmarking import BenchResult, BenchRow, Roofline
from lunet_cli.results.words import plural, visible

_MIB = 2**20
_COST_SETTINGS = ("size", "batch", "channels", "precision")
# From so many columns on, one space between them instead of two keeps a table within 80 columns.
_MANY_COLUMNS = 8


def bench_table(result: BenchResult) -> RenderableType:
    """What each network costs and how fast it is; and what has changed since a measurement."""
    rows = result.rows
    if not rows:
        return Text("nothing was measured", style="bold")
    varying = _varying(rows)
    tables = [_cost_table(rows, varying), _speed_table(rows, varying)]
    if any(row.before_ms is not None for row in rows):
        tables.append(_change_table(rows, varying))
    parts: list[RenderableType] = [_head(result, varying)]
    for table in tables:
        parts += [Text(), table]
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
    # Rows that differ only in how they were measured cost the same: one of them is enough.
    by_label: dict[str, BenchRow] = {}
    for row in rows:
        by_label[_label(row, shown).plain] = row
    for row in by_label.values():
        table.add_row(
            _label(row, shown),
            f"{row.parameters:,}",
            _bytes(row.size_on_disk_bytes),
            _digits(row.macs / 1e9),
            _digits(row.flops / 1e9),
            _digits(row.activation_mib),
        )
    return table


def _speed_table(rows: Sequence[BenchRow], varying: set[str]) -> Table:
    names = ["", "ms", "IQR", "p95", "per s", "GFLOP\n/s", "% of\npeak", "% of\ncopy", "peak\nMiB"]
    has_energy = any(row.energy_j is not None for row in rows)
    has_ratio = any(row.ratio is not None for row in rows)
    if has_energy:
        names.append("J")
    if has_ratio:
        names.append("times\nas fast")
    table = _columns(*names)
    for row in rows:
        latency = row.latency_ms
        numbers = [
            latency.iqr,
            latency.p95,
            row.throughput_per_s,
            row.gflop_per_s,
            100 * row.peak_share,
            100 * row.bandwidth_share,
            row.peak_memory_mib,
        ]
        cells = [*map(_digits, numbers)]
        if has_energy:
            cells.append(_digits(row.energy_j))
        if has_ratio:
            cells.append(_digits(row.ratio))
        table.add_row(_label(row, varying), Text(_digits(latency.median), style="bold"), *cells)
    return table


def _change_table(rows: Sequence[BenchRow], varying: set[str]) -> Table:
    table = _columns("", "before ms", "now ms", "now / before")
    for row in rows:
        table.add_row(
            _label(row, varying),
            _digits(row.before_ms),
            _digits(row.latency_ms.median),
            Text(_digits(row.before_ratio), style="bold"),
        )
    return table


def _notes(result: BenchResult) -> Text:
    has_several = len(result.rooflines) > 1
    peaks = [_peak(roofline, with_place=has_several) for roofline in result.rooflines]
    lines = [
        "MAC, FLOP: multiply-accumulates of the convolutions alone, 1 MAC = 2 FLOP;"
        " activations: estimated.",
        f"Median, interquartile range and 95th percentile of {_runs(result.rows)} in turns;"
        " per s: samples.",
        "peak, copy: a matrix product and a copy of memory here reach " + ", ".join(peaks) + ".",
    ]
    if result.baseline:
        lines.append(visible(f"times as fast: as {result.baseline}, by the medians."))
    return Text("\n".join(lines), style="dim")


def _peak(roofline: Roofline, *, with_place: bool) -> str:
    gflop, copy = _digits(roofline.gflop_per_s), _digits(roofline.copy_gb_per_s)
    words = f"{gflop} GFLOP/s in {roofline.precision} and {copy} GB/s"
    if with_place:
        words += f" on {roofline.device} with {plural(roofline.num_threads, 'thread')}"
    return words


def _runs(rows: Iterable[BenchRow]) -> str:
    numbers = sorted({row.num_runs for row in rows})
    if len(numbers) == 1:
        return plural(numbers[0], "pass", "passes")
    return f"{numbers[0]} to {numbers[-1]} passes"


def _varying(rows: Sequence[BenchRow]) -> set[str]:
    """The settings that are not the same in all rows."""
    first = rows[0].settings
    varying: set[str] = set()
    for row in rows[1:]:
        varying.update(dict(row.settings.items() - first.items()))
    return varying


def _label(row: BenchRow, shown: set[str]) -> Text:
    label = Text.assemble((visible(row.name), "bold"))
    for name, text in row.settings.items():
        if name in shown:
            label.append(visible(f" {text}"))
    return label


def _columns(*names: str) -> Table:
    """Numbers are never cut or folded: the first column gives way."""
    gap = 2
    if len(names) >= _MANY_COLUMNS:
        gap = 1
    table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0))
    first, *others = names
    # As `Text`, since a heading may have two lines.
    table.add_column(Text(first), overflow="fold")
    for name in others:
        table.add_column(Text(name), justify="right", overflow="fold", no_wrap=True)
    return table


def _digits(value: float | None) -> str:
    """Three significant digits, and all those before the point; a dash for no value."""
    if value is None:
        return "-"
    if value >= 100 or value == 0:
        return f"{value:.0f}"
    if value >= 10:
        return f"{value:.1f}"
    if value >= 1:
        return f"{value:.2f}"
    if value >= 0.001:
        return f"{value:.3g}"
    return f"{value:.1g}"


def _bytes(number: int) -> str:
    if number < _MIB:
        return f"{number / 1024:.0f} KiB"
    return f"{number / _MIB:.1f} MiB"
