"""The job `gather_report`: a run's course, configuration, results and most telling cases."""

from __future__ import annotations

import datetime
import math
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from lunet_cli import __version__
from lunet_cli.config.options import EvaluationOptions, PredictionOptions
from lunet_cli.config.vocabulary import SplitName
from lunet_cli.engine.checkpoints.models import Model
from lunet_cli.engine.evaluation.evaluate import evaluate, evaluation_folder
from lunet_cli.engine.evaluation.summary import badness
from lunet_cli.engine.inference.labelled_cases import recorded_split
from lunet_cli.engine.inference.predictor import Predictor
from lunet_cli.engine.provenance import sha256_of
from lunet_cli.engine.run_folder import RunFolder
from lunet_cli.engine.viewing.cases import CaseViews
from lunet_cli.engine.viewing.histories import read_history
from lunet_cli.errors import DataError, LunetError, OutputError
from lunet_cli.records.evaluation import read_evaluation, write_evaluation
from lunet_cli.records.manifest import Manifest
from lunet_cli.results.evaluation import CaseScore, EvalResult, EvaluatedCases
from lunet_cli.results.events import Event, Notice, WarningIssued
from lunet_cli.results.report import ReportCase, RunOrigin, RunReport
from lunet_cli.results.views import LabeledVolume
from lunet_cli.results.words import plural

_MARGIN_MM = 15.0
_MOST_VOXELS = (
    600_000  # per case: three of them, each with two label maps, stay below 10 MB in a page
)


def gather_report(
    run: Path,
    *,
    data: Path | None = None,
    split: SplitName | None = None,
    options: PredictionOptions | None = None,
    on_event: Callable[[Event], None] = lambda event: None,
) -> RunReport:
    """Bring together everything about a run.

    Cases are evaluated if `lunet eval` has not done that with this very checkpoint. What cannot be
    had, for instance because the data have moved, is left out and told.

    Args:
        run: A run folder.
        data: A labelled data set; None takes that of the training.
        split: Which cases; None takes `val` of the data of the training, and `all` of other data.
        options: How to predict; None takes the usual way.
        on_event: Called with what happens.

    Raises:
        LunetError: The folder holds no training, or `data` was named and cannot be evaluated.
    """
    course = read_history(run)
    gathering = _Gathering(run, data, split or ("val" if data is None else "all"), on_event)
    evaluation, cases = gathering.results(options or PredictionOptions())
    return RunReport(
        run_dir=run,
        course=course,
        config=gathering.config(),
        origin=gathering.origin(),
        outcome=gathering.outcome(),
        evaluation=evaluation,
        cases=cases,
        warnings=tuple(gathering.warnings),
        commands=_commands(run, data, split),
        made=f"{datetime.datetime.now().astimezone().isoformat(timespec='minutes')}, lunet {__version__}",
    )


@dataclass
class _Gathering:
    """The parts of a report, and what is missing of them."""

    run: Path
    data: Path | None
    split: SplitName
    on_event: Callable[[Event], None]
    warnings: list[str] = field(default_factory=list)

    def results(
        self, options: PredictionOptions
    ) -> tuple[EvalResult | None, tuple[ReportCase, ...]]:
        """The evaluation and its most telling cases, as far as they can be had."""
        evaluation: EvalResult | None = None
        try:
            predictor = Predictor.load([self.run], options=options)
            evaluation = self._stored(predictor) or self._evaluate(predictor)
            flattered = trained_cases(predictor.models[0], evaluation.scores)
            if flattered and self.split != "train":
                words = plural(len(flattered), "case was", "cases were")
                self.warnings.append(f"{words} trained on, such as {flattered[0]}: values flatter")
            return evaluation, self._telling_cases(predictor, evaluation)
        except LunetError as error:
            if self.data is not None and evaluation is None:
                raise
            self._miss(
                "there are no results of cases"
                if evaluation is None
                else "the cases have no pictures",
                error,
            )
            return evaluation, ()

    def config(self) -> str:
        """The configuration of the run; empty where there is none."""
        try:
            return RunFolder(self.run).read_config_text()
        except DataError as error:
            self._miss("a file of the run", error)
            return ""

    def origin(self) -> RunOrigin | None:
        """What the run was made of; None where it does not say."""
        try:
            manifest = RunFolder(self.run).read_manifest()
        except DataError as error:
            self._miss("a file of the run", error)
            return None
        return None if manifest is None else _origin_of(manifest)

    def outcome(self) -> str:
        """How the training ended; empty where it does not say."""
        try:
            summary = RunFolder(self.run).read_summary()
        except DataError as error:
            self._miss("a file of the run", error)
            return ""
        return "" if summary is None else summary.outcome

    def _miss(self, what: str, error: LunetError) -> None:
        self.warnings.append(f"{what}: {error.message}")
        self.on_event(WarningIssued(self.warnings[-1] + (f" ({error.hint})" if error.hint else "")))

    def _stored(self, predictor: Predictor) -> EvalResult | None:
        """What `lunet eval` has left, if it was of this checkpoint and these data, is whole, and has Dice."""
        try:
            found = read_evaluation(evaluation_folder(predictor, self.data, self.split))
        except DataError:
            return None
        data, model = found.facts.data, found.facts.model
        if model is None or not isinstance(data, EvaluatedCases):
            return None
        is_same_data = self.data is None or (
            data.root is not None and Path(data.root).resolve() == self.data.resolve()
        )
        is_same_model = model.sha256 == (sha256_of(predictor.models[0].path),)
        if not (is_same_data and is_same_model and "dice" in found.scores[0].values):
            return None
        self.on_event(Notice(f"results of cases: {found.folder}, of lunet eval"))
        return found

    def _evaluate(self, predictor: Predictor) -> EvalResult:
        options = EvaluationOptions()
        result = evaluate(
            predictor,
            data=self.data,
            split=self.split,
            options=options,
            write=False,
            on_event=self.on_event,
        )
        if not result.scores:
            raise DataError("no case could be evaluated")
        try:
            write_evaluation(result, options.metrics)
        except OutputError as error:
            self._miss("the results could not be kept for the next time", error)
        return result

    def _telling_cases(
        self, predictor: Predictor, evaluation: EvalResult
    ) -> tuple[ReportCase, ...]:
        views = CaseViews(predictor, data=self.data, split=self.split)
        order = worst_first(evaluation.scores)
        roles = {
            len(order) // 2: "median",
            len(order) - 1: "best",
            0: "worst",
        }  # Of few cases, one has several.
        return tuple(
            ReportCase(roles[place], *crop(views.load(order[place], self.on_event)))
            for place in sorted(roles)
        )


def crop(volume: LabeledVolume) -> tuple[LabeledVolume, tuple[int, int, int], tuple[int, int, int]]:
    """The part of a volume around its labels, thinned out where it is still large, along its finest axes first.

    Returns:
        The part, the index of its first voxel along z, y and x, and how many voxels of each axis
        one of it stands for.
    """
    found = np.zeros(volume.image.shape, dtype=bool)
    for labels in (volume.reference, volume.prediction):
        if labels is not None:
            found |= labels > 0
    first, stop = [0, 0, 0], list(volume.image.shape)
    if found.any():
        for axis, spacing_mm in enumerate(volume.spacing_mm):
            filled = np.flatnonzero(found.any(axis=tuple(i for i in range(3) if i != axis)))
            margin = int(np.ceil(_MARGIN_MM / spacing_mm))
            first[axis] = max(0, int(filled[0]) - margin)
            stop[axis] = min(stop[axis], int(filled[-1]) + margin + 1)
    steps = [1, 1, 1]
    while math.prod(-(-(stop[i] - first[i]) // steps[i]) for i in range(3)) > _MOST_VOXELS:
        long = [axis for axis in range(3) if stop[axis] - first[axis] > steps[axis]]
        steps[min(long, key=lambda axis: volume.spacing_mm[axis] * steps[axis])] += 1
    where = tuple(
        slice(low, high, step) for low, high, step in zip(first, stop, steps, strict=True)
    )
    z, y, x = (spacing_mm * step for spacing_mm, step in zip(volume.spacing_mm, steps, strict=True))
    part = replace(
        volume,
        image=volume.image[where],
        spacing_mm=(z, y, x),
        reference=None if volume.reference is None else volume.reference[where],
        prediction=None if volume.prediction is None else volume.prediction[where],
    )
    return part, (first[0], first[1], first[2]), (steps[0], steps[1], steps[2])


def trained_cases(model: Model, scores: Sequence[CaseScore]) -> list[str]:
    """Those of the evaluated cases that the network was trained on."""
    trained_on = set(recorded_split(model).get("train", []))
    return [case for case in dict.fromkeys(score.case for score in scores) if case in trained_on]


def worst_first(scores: Sequence[CaseScore]) -> list[str]:
    """Cases by their mean Dice over labels."""
    values: dict[str, list[float]] = {}
    for score in scores:
        values.setdefault(score.case, []).append(badness("dice", score.values["dice"]))
    return sorted(values, key=lambda case: float(np.mean(values[case])), reverse=True)


def _origin_of(manifest: Manifest) -> RunOrigin:
    """What a manifest says, as the page shows it."""
    details = [*manifest.versions.items()]
    details += [(name, str(value)) for name, value in manifest.machine]
    details += [(f"computed: {name}", str(value)) for name, value in manifest.execution]
    details.append(("seed", str(manifest.seed)))
    if manifest.git_commit is not None:
        details.append(("git commit", manifest.git_commit))
    details += [("started", manifest.started), ("split", manifest.split.origin)]
    return RunOrigin(
        architecture=manifest.architecture,
        num_parameters=manifest.num_parameters,
        data_root=manifest.data.root,
        num_train=len(manifest.split.train),
        num_val=len(manifest.split.val),
        details=tuple(details),
    )


def _commands(run: Path, data: Path | None, split: SplitName | None) -> tuple[tuple[str, str], ...]:
    where = [*(["--data", str(data)] if data else []), *(["--split", split] if split else [])]
    again = [
        "lunet",
        "train",
        str(RunFolder(run).config),
        "--set",
        f"experiment.name={run.resolve().name}_again",
    ]
    return (
        ("train it again", shlex.join(again)),
        ("measure it", shlex.join(["lunet", "eval", str(run), *where])),
        (
            "look at a case",
            shlex.join(["lunet", "viz", "slices", str(run), *where, "--interactive"]),
        ),
        ("make this page", shlex.join(["lunet", "report", str(run), *where])),
    )
