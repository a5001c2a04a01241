"""`tracking.json`: what a run is called at the services that show its history."""

from __future__ import annotations

from typing import ClassVar

from lunet_cli.records.record import Record


class TrackingIds(Record):
    """Names that a resumed run is found by."""

    what: ClassVar[str] = "the names of a run at tracking services"
    written_by: ClassVar[str] = "`train(CONFIG)` writes it where `wandb` or `mlflow` is enabled."

    format: str = "lunet tracking 1"
    wandb: str | None = None
    mlflow: str | None = None
