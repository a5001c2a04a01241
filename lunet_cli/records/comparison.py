"""A comparison of runs, as a file."""

from __future__ import annotations

from typing import Annotated, ClassVar, Self, cast

from pydantic import AfterValidator, FailFast

from lunet_cli.config.metrics import MetricName
from lunet_cli.records.record import Record
from lunet_cli.results.evaluation import ComparedRun, CompareResult, PairedDifference


def _possible(run: ComparedRun) -> ComparedRun:
    # Costs are drawn on a logarithmic axis, which has no place for 0.
    for name, cost in (("parameters", run.parameters), ("flops", run.flops)):
        if cost is not None and cost < 1:
            raise ValueError(f"its {name} are {cost}")
    return run


class ComparisonRecord(Record):
    """A comparison of runs by one metric."""

    what: ClassVar[str] = "a comparison of runs"
    written_by: ClassVar[str] = "`compare(RUN, RUN, json=True)` makes it."

    format: str = "lunet comparison 1"
    metric: MetricName
    runs: Annotated[tuple[Annotated[ComparedRun, AfterValidator(_possible)], ...], FailFast()]
    differences: Annotated[tuple[PairedDifference, ...], FailFast()]

    @classmethod
    def of(cls, result: CompareResult) -> Self:
        """What is kept of a comparison: all of it."""
        metric = cast("MetricName", result.metric)
        return cls(metric=metric, runs=result.runs, differences=result.differences)
