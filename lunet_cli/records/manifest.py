"""`manifest.json`: what is needed to understand and repeat a run."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import FailFast

from lunet_cli.records.network_card import CardRecord, Execution, Versions
from lunet_cli.records.record import Record

# Of a list of 100,000 wrong names, the first is enough.
_CaseIds = Annotated[tuple[str, ...], FailFast()]


class Machine(Record):
    """Where a run was computed."""

    platform: str
    cpus: int | None
    threads: int


class DataOrigin(Record):
    """Which data a run was trained on.

    Args:
        layout: Name of the data layout.
        root: Their folder; None where training and validation have folders of their own.
        cache: Where volumes were kept.
    """

    layout: str
    root: str | None
    cache: str


class RecordedSplit(Record):
    """The cases of both sides, and where the split comes from in words.

    Args:
        unlabelled: Cases that train without labels, where a teacher has probabilities for them.
    """

    origin: str
    train: _CaseIds
    val: _CaseIds
    unlabelled: _CaseIds = ()


class TeacherFile(Record):
    """A file, or a folder as one, that a network learns from, by its content."""

    path: str
    sha256: str


class RecordedTeacher(Record):
    """What a network learns from beside the labels."""

    kind: Literal["networks", "maps"]
    files: Annotated[tuple[TeacherFile, ...], FailFast()]


class Manifest(CardRecord):
    """What a run was made of, with, on and from."""

    what: ClassVar[str] = "the manifest of a run"
    written_by: ClassVar[str] = (
        "`train(CONFIG)` writes it; without its folder, a checkpoint can still be used."
    )

    format: str = "lunet manifest 1"
    started: str
    versions: Versions
    machine: Machine
    seed: int
    git_commit: str | None
    architecture: str
    num_parameters: int
    execution: Execution
    data: DataOrigin
    split: RecordedSplit
    teacher: RecordedTeacher | None = None
