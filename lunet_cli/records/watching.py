"""`NAME.json` beside the mask of a scan from a watched folder: what has become of it."""

from __future__ import annotations

from typing import ClassVar, Literal

from lunet_cli.records.record import Record

ScanState = Literal["working", "done", "failed"]


class ScanRecord(Record):
    """What has become of a scan.

    Args:
        state: `working` is written before the first file of a scan, so that what a killed process
            has left is known as its own; `done` after the last one.
        scan: The file or folder, or the first of several channels.
        content: What tells a scan from a later one of the same name: names, sizes and times.
        model: The name of the model.
        networks: The SHA-256 of each network's file.
        mask: The name of the mask in the same folder.
        labels: The value of each label.
        volumes_ml: The volume of each label.
        seconds: How long it took.
        remarks: What a person should know about the scan.
        error: Why there is no mask.
        hint: What to do about it.
    """

    what: ClassVar[str] = "the record of a scan from a watched folder"
    written_by: ClassVar[str] = "Remove it, and the scan is done again."
    is_always_marked: ClassVar[bool] = True

    format: str = "lunet scan 1"
    state: ScanState
    scan: str
    content: str
    model: str
    networks: tuple[str, ...]
    mask: str
    labels: dict[str, int] | None = None
    volumes_ml: dict[str, float] | None = None
    seconds: float | None = None
    remarks: tuple[str, ...] = ()
    error: str | None = None
    hint: str | None = None
