"""Rows beside a baseline, and beside those of an earlier measurement."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from operator import attrgetter
from pathlib import Path

from lunet_cli.engine.benchmarking.row_plan import AUTO, RowPlan
from lunet_cli.errors import ConfigError
from lunet_cli.records.bench import BenchRecord
from lunet_cli.results.benchmarking import BenchResult, BenchRow

# What must be equal for two rows to be the same measurement. Not the file, which may lie elsewhere
# by now.
_identity = attrgetter(
    "arch",
    "input_shape",
    "out_channels",
    "runtime",
    "precision",
    "device",
    "num_threads",
    "mode",
)


@dataclass(frozen=True)
class Saved:
    """An earlier measurement.

    Args:
        path: Its file.
        machine: Where it was made.
        rows: Its rows.
    """

    path: Path
    machine: str
    rows: tuple[BenchRow, ...]

    def remarks(self, rows: Sequence[BenchRow], machine: str) -> list[str]:
        """What to keep in mind when new `rows`, measured on `machine`, stand beside it."""
        remarks = []
        if self.machine != machine:
            remarks.append(f"{self.path} was measured on another machine: {self.machine}")
        if all(row.before_ms is None for row in rows):
            remarks.append(f"{self.path} has none of these rows")
        return remarks


def require_baseline(baseline: str | None, plans: Sequence[RowPlan]) -> None:
    """Raise if no row will be what the baseline names.

    Raises:
        ConfigError: With what there is.
    """
    if baseline is None or any(plan.runtime == AUTO for plan in plans):
        return
    known: dict[str, None] = {}
    for plan in plans:
        names = (plan.target.arch, plan.runtime, plan.precision, plan.device)
        if _words(baseline) <= set(names):
            return
        known |= dict.fromkeys(names)
    raise ConfigError(
        f"`baseline={baseline}`: no row is that",
        hint=f"Name some of these, joined by '/': {', '.join(known)}",
    )


def with_ratios(rows: Sequence[BenchRow], baseline: str | None) -> tuple[list[BenchRow], str]:
    """Add to each row how many times as fast as the baseline it is.

    Args:
        rows: The rows.
        baseline: Which rows are the baseline; of several, each row takes the one that it shares
            most with. None takes the first row.

    Returns:
        The rows, and the baseline in words; empty if no row is what it names.
    """
    if not rows:
        return [], ""
    if baseline is None:
        first = rows[0]
        candidates, words = [first], f"{first.name} {first.runtime} {first.precision}"
    else:
        wanted, words = _words(baseline), baseline
        candidates = [row for row in rows if wanted <= _names(row)]
    if not candidates:
        return list(rows), ""
    compared = []
    for row in rows:
        closest = max(candidates, key=partial(_kinship, row))
        ratio = closest.latency_ms.median / row.latency_ms.median
        compared.append(replace(row, ratio=ratio))
    return compared, words


def save_result(result: BenchResult, path: Path) -> None:
    """Write a measurement as JSON.

    Raises:
        OutputError: The file cannot be written.
    """
    BenchRecord.of(result).write(path)


def load_saved(path: Path) -> Saved:
    """Read what `save_result` has written.

    Raises:
        DataError: The file is missing, damaged, or something else.
    """
    record = BenchRecord.read(path)
    return Saved(path, record.machine, record.rows)


def beside(rows: Iterable[BenchRow], saved: Saved) -> list[BenchRow]:
    """Add to each row the median of the same row of an earlier measurement, where it has one."""
    return [_beside(row, saved) for row in rows]


def _beside(row: BenchRow, saved: Saved) -> BenchRow:
    same = [old for old in saved.rows if _identity(old) == _identity(row)]
    if not same:
        return row
    # Of several trained networks of one kind, the one from the same file.
    before = max(same, key=lambda old: old.source == row.source).latency_ms.median
    return replace(row, before_ms=before, before_ratio=row.latency_ms.median / before)


def _words(baseline: str) -> set[str]:
    return set(map(str.strip, baseline.split("/")))


def _names(row: BenchRow) -> set[str]:
    return {row.arch, row.runtime, row.precision, row.device}


def _kinship(row: BenchRow, other: BenchRow) -> tuple[bool, int]:
    """How much two rows have in common: the network above all."""
    common = row.settings.items() & other.settings.items()
    return row.name == other.name, len(common)
