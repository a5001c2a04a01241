"""A measurement of networks, as a file."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Self

from pydantic import AfterValidator, FailFast

from lunet_cli.records.network_card import Versions
from lunet_cli.records.record import Record
from lunet_cli.results.benchmarking import BenchResult, BenchRow, Roofline
from lunet_cli.results.events import CaseFailed


def _measured(row: BenchRow) -> BenchRow:
    # Ratios and throughputs are quotients of it.
    if not 0 < row.latency_ms.median < math.inf:
        raise ValueError("its median is not a time")
    if len(row.input_shape) != 5 or min(row.input_shape) < 1:
        raise ValueError("its input_shape is not one of batch, channels, depth, height and width")
    return row


class BenchRecord(Record):
    """A measurement."""

    what: ClassVar[str] = "a measurement of networks"
    written_by: ClassVar[str] = "`benchmark(..., save=FILE)` writes it."
    is_always_marked: ClassVar[bool] = True

    format: str = "lunet bench 2"
    rows: Annotated[tuple[Annotated[BenchRow, AfterValidator(_measured)], ...], FailFast()]
    failures: Annotated[tuple[CaseFailed, ...], FailFast()]
    rooflines: Annotated[tuple[Roofline, ...], FailFast()]
    machine: str
    versions: Versions
    baseline: str

    @classmethod
    def of(cls, result: BenchResult) -> Self:
        """What is kept of a measurement: all of it."""
        return cls(
            rows=result.rows,
            failures=result.failures,
            rooflines=result.rooflines,
            machine=result.machine,
            versions=result.versions,
            baseline=result.baseline,
        )
