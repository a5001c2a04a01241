"""`training.json`: how a training ended."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import FailFast, Field

from lunet_cli.records.record import Record
from lunet_cli.results.evaluation import MetricSummary
from lunet_cli.results.training import EpochRecord


class TrainingSummary(Record):
    """The numbers of the table at the end of a training."""

    what: ClassVar[str] = "the summary of a training"
    written_by: ClassVar[str] = "`train(CONFIG)` writes it at its end."

    format: str = "lunet training 1"
    outcome: Literal["finished", "stopped early", "interrupted"]
    architecture: str
    num_parameters: int
    num_epochs: Annotated[int, Field(ge=0)]
    best: EpochRecord | None
    metrics: Annotated[tuple[MetricSummary, ...], FailFast()]
    latency_ms: float | None
    one_pass_dice: float | None = None
