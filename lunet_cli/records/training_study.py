"""The files of a study of trainings: `study.csv`, and notes about those that failed."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import ClassVar, Self

from lunet_cli.records.record import Record
from lunet_cli.records.table import table_text
from lunet_cli.results.studies import TrialFailed
from lunet_cli.results.training_studies import TrainingStudy

_BEFORE = ("trial", "variant")
_BEHIND = ("seed", "folds", "parameters", "flops", "cases")


class FailureRecord(Record):
    """Why a training of a study has failed."""

    what: ClassVar[str] = "a note about a training that failed"
    is_always_marked: ClassVar[bool] = True

    format: str = "lunet failure 1"
    message: str
    hint: str
    failed: str
    """Another one for each failure."""

    @classmethod
    def of(cls, failure: TrialFailed) -> Self:
        """What is kept of a failure."""
        return cls(message=failure.message, hint=failure.hint, failed=uuid.uuid4().hex)


def training_study_text(study: TrainingStudy) -> str:
    """`study.csv`: a line per combination and seed, for other programs."""
    rows: list[Sequence[object]] = []
    for trial in study.trials:
        values = [trial.values[key] for key in study.keys]
        costs = (trial.seed, trial.num_folds, trial.parameters, trial.flops, trial.num_cases)
        rows.append((trial.trial, trial.variant, *values, *costs, trial.value))
    return table_text([*_BEFORE, *study.keys, *_BEHIND, study.metric], rows)
