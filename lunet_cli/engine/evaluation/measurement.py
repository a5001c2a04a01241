"""What `evaluate` and `score` share: pairs of masks measured case by case, and their result."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lunet_cli.config.options import EvaluationOptions
from lunet_cli.engine.data.labels import LabelScheme
from lunet_cli.engine.data.volume import Geometry
from lunet_cli.engine.evaluation.masks import Mask, score_label
from lunet_cli.engine.evaluation.summary import NUM_RESAMPLES, SEED, summarize
from lunet_cli.engine.provenance import versions
from lunet_cli.errors import LunetError
from lunet_cli.records.evaluation import require_own_place, write_evaluation
from lunet_cli.results.evaluation import (
    Bootstrap,
    CaseScore,
    CaseScored,
    EvalResult,
    EvaluatedCases,
    EvaluatedMaps,
    EvaluatedModel,
    EvaluationFacts,
)
from lunet_cli.results.events import CaseFailed, Event, Notice

OnEvent = Callable[[Event], None]
LabelPair = tuple[str, Mask, Mask]
"""A label with the masks of its prediction and its reference."""


@dataclass(frozen=True)
class CasePair:
    """A case to measure.

    Args:
        case: Its name.
        load: Gives the masks of each label, and the grid that they lie on.
    """

    case: str
    load: Callable[[], tuple[Iterator[LabelPair], Geometry]]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is measured.

    Args:
        title: It in words.
        model: The networks; None for label maps of any tool.
        data: The cases or files.
        scheme: The labels.
    """

    title: str
    model: EvaluatedModel | None
    data: EvaluatedCases | EvaluatedMaps
    scheme: LabelScheme


class Measurement:
    """Cases on their way to a result.

    Args:
        options: What is measured.
        folder: Where the result is kept.
        on_event: Called with what happens.
    """

    def __init__(self, options: EvaluationOptions, folder: Path, on_event: OnEvent) -> None:
        self._options, self._folder, self._on_event = options, folder, on_event
        self._scores: list[CaseScore] = []
        self._num_cases = 0
        self._failures: list[CaseFailed] = []

    def tell_replaced(self) -> None:
        """Tell if an earlier evaluation will be replaced, before a long one is begun.

        Raises:
            OutputError: A file of another program has the name of one of ours, such as the
                `summary.json` of nnU-Net.
        """
        made = require_own_place(self._folder)
        if made is not None:
            day = made.isoformat(sep=" ", timespec="minutes")
            self._on_event(Notice(f"replaces the evaluation of {day} in {self._folder}"))

    def fail(self, failure: CaseFailed) -> None:
        """Note and tell of a case that cannot be measured."""
        self._failures.append(failure)
        self._on_event(failure)

    def measure(self, pairs: Sequence[CasePair]) -> None:
        """Measure cases, one after the other; the others go on where one cannot be used."""
        for number, pair in enumerate(pairs, start=1):
            try:
                rows = self._rows(pair)
            except LunetError as error:
                self.fail(CaseFailed(pair.case, error.message, error.hint))
                continue
            self._scores += rows
            self._num_cases += 1
            mean_dice = None
            if "dice" in self._options.metrics:
                mean_dice = float(np.mean([row.values["dice"] for row in rows]))
            self._on_event(CaseScored(pair.case, mean_dice, number, len(pairs)))

    def _rows(self, pair: CasePair) -> list[CaseScore]:
        masks, geometry = pair.load()
        rows: list[CaseScore] = []
        for label, prediction, reference in masks:
            row = score_label(
                pair.case,
                label,
                prediction,
                reference,
                geometry.spacing_mm,
                metrics=self._options.metrics,
                tolerance_mm=self._options.tolerance_mm,
            )
            # A structure that was not found then costs the most, and never improves a mean.
            if self._options.undefined == "diagonal":
                row = row.penalized()
            rows.append(row)
        return rows

    def result(self, subject: Subject, *, write: bool) -> EvalResult:
        """The summary of all cases.

        Args:
            subject: What was measured.
            write: Whether `metrics.csv` and `summary.json` are written; without a case, never.
        """
        found = EvalResult(
            title=subject.title,
            scores=tuple(self._scores),
            summaries=summarize(self._scores, metrics=self._options.metrics),
            failures=tuple(self._failures),
            facts=self._facts(subject),
            folder=self._folder,
        )
        if found.scores and write:
            write_evaluation(found, self._options.metrics)
        return found

    def _facts(self, subject: Subject) -> EvaluationFacts:
        undefined = {"count": "left out", "diagonal": "diagonal of the field of view"}
        return EvaluationFacts(
            model=subject.model,
            data=subject.data,
            labels=dict(subject.scheme.regions),
            num_cases=self._num_cases,
            nsd_tolerance_mm=self._options.tolerance_mm,
            undefined_distances=undefined[self._options.undefined],
            bootstrap=Bootstrap(NUM_RESAMPLES, SEED, "95 % percentile, over cases"),
            versions=versions(),
        )


def masks_of_label(
    prediction: Mask,
    reference: npt.NDArray[np.uint16],
    values: tuple[int, ...],
    ignored: int | None,
) -> tuple[Mask, Mask]:
    """Masks of a label, (D, H, W): its prediction and its reference.

    Nothing is predicted where nobody has said what is there.

    Args:
        prediction: Mask (D, H, W).
        reference: Label map (D, H, W).
        values: Those of the label in the reference.
        ignored: That of unlabelled voxels; None where all are labelled.
    """
    if ignored is not None:
        prediction = prediction & (reference != ignored)
    return prediction, has_value(reference, values)


def has_value(array: npt.NDArray[np.uint16], values: tuple[int, ...]) -> Mask:
    """The voxels of a label map that have one of some values."""
    mask: Mask = array == values[0]
    for value in values[1:]:
        mask |= array == value
    return mask
