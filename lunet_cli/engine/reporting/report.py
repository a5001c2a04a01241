"""The job `gather_report`: a run's history, configuration, results and most telling cases."""

from __future__ import annotations

import datetime
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
from lunet_cli.engine.run_folder import RunFolder
from lunet_cli.engine.viewing.cases import CaseViews
from lunet_cli.engine.viewing.histories import read_history
from lunet_cli.engine.viewing.prunings import view_pruning
from lunet_cli.errors import DataError, LunetError, OutputError
from lunet_cli.records.evaluation import read_evaluation, write_evaluation
from lunet_cli.records.files import sha256_of
from lunet_cli.records.manifest import Manifest
from lunet_cli.results.evaluation import CaseScore, EvalResult, EvaluatedCases
from lunet_cli.results.events import Event, Notice, WarningIssued
from lunet_cli.results.report import ReportCase, RunOrigin, RunReport
from lunet_cli.results.views import LabeledVolume, LabelImage, PruningView
from lunet_cli.results.words import plural

# Around the labels: enough to see where in the body they lie.
_MARGIN_MM = 15.0
# Per case: three of them, each with two label maps, stay below 10 MB in a page.
_MOST_VOXELS = 600_000

Triple = tuple[int, int, int]
"""Voxels along z, y and x."""


def gather_report(
    run: Path,
    *,
    data: Path | None = None,
    split: SplitName | None = None,
    options: PredictionOptions | None = None,
    on_event: Callable[[Event], None] = lambda event: None,
) -> RunReport:
    """Bring together everything about a run.

    Cases are evaluated if that has not been done with this very checkpoint. What cannot be had, for
    instance because the data have moved, is left out and told.

    Args:
        run: A run folder.
        data: A labelled data set; None takes that of the training.
        split: Which cases; None takes `val` of the data of the training, and `all` of other data.
        options: How to predict; None takes the usual way.
        on_event: Called with what happens.

    Raises:
        LunetError: The folder holds no training, or `data` was named and cannot be evaluated.
    """
    history = read_history(run)
    if split is None:
        split = "val"
        if data is not None:
            split = "all"
    gathering = _Gathering(run, data, split, on_event)
    evaluation, cases = gathering.results(options or PredictionOptions())
    pruning = gathering.pruning()
    now = datetime.datetime.now().astimezone()
    return RunReport(
        run_dir=run,
        history=history,
        config=gathering.config(),
        origin=gathering.origin(),
        outcome=gathering.outcome(),
        evaluation=evaluation,
        cases=cases,
        warnings=tuple(gathering.warnings),
        made=f"{now.isoformat(timespec='minutes')}, lunet {__version__}",
        pruning=pruning,
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
            self._warn_of_trained_cases(predictor.models[0], evaluation.scores)
            return evaluation, self._telling_cases(predictor, evaluation)
        except LunetError as error:
            # What was asked for by name must be there; what is only usual may be missing.
            if self.data is not None and evaluation is None:
                raise
            what = "the cases have no pictures"
            if evaluation is None:
                what = "there are no results of cases"
            self._miss(what, error)
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
        if manifest is None:
            return None
        return _origin_of(manifest)

    def outcome(self) -> str:
        """How the training ended; empty where it does not say."""
        try:
            summary = RunFolder(self.run).read_summary()
        except DataError as error:
            self._miss("a file of the run", error)
            return ""
        if summary is None:
            return ""
        return summary.outcome

    def pruning(self) -> PruningView | None:
        """How the network was pruned; None where it was not, or where that cannot be read."""
        if not RunFolder(self.run).pruning.exists():
            return None
        try:
            return view_pruning(self.run)
        except DataError as error:
            self._miss("the steps of the pruning", error)
            return None

    def _miss(self, what: str, error: LunetError) -> None:
        told = f"{what}: {error.message}"
        self.warnings.append(told)
        if error.hint:
            told += f" ({error.hint})"
        self.on_event(WarningIssued(told))

    def _warn_of_trained_cases(self, model: Model, scores: Sequence[CaseScore]) -> None:
        """Say that values flatter, unless just that was asked for."""
        if self.split == "train":
            return
        flattered = trained_cases(model, scores)
        if flattered:
            words = plural(len(flattered), "case was", "cases were")
            self.warnings.append(f"{words} trained on, such as {flattered[0]}: values flatter")

    def _stored(self, predictor: Predictor) -> EvalResult | None:
        """What an evaluation of this checkpoint and these data has left, if that has Dice."""
        try:
            found = read_evaluation(evaluation_folder(predictor, self.data, self.split))
        except DataError:
            return None
        model = found.facts.model
        # By content and not by time: copies and restored files keep their results.
        if model is None or model.sha256 != (sha256_of(predictor.models[0].path),):
            return None
        if not self._is_of_our_data(found) or "dice" not in found.scores[0].values:
            return None
        self.on_event(Notice(f"results of cases: {found.folder}, of `evaluate()`"))
        return found

    def _is_of_our_data(self, evaluation: EvalResult) -> bool:
        data = evaluation.facts.data
        if not isinstance(data, EvaluatedCases):
            return False
        if self.data is None:
            return True
        return data.root is not None and Path(data.root).resolve() == self.data.resolve()

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
        # Of few cases, one has several roles: the last that is written here.
        roles = {len(order) // 2: "median", len(order) - 1: "best", 0: "worst"}
        cases = []
        for place, role in sorted(roles.items()):
            cases.append(ReportCase(role, *crop(views.load(order[place], self.on_event))))
        return tuple(cases)


def crop(volume: LabeledVolume) -> tuple[LabeledVolume, Triple, Triple]:
    """The part of a volume around its labels, thinned out where it is still large.

    Returns:
        The part, the index of its first voxel along z, y and x, and how many voxels of each axis
        one of it stands for.
    """
    around = _around_labels(volume)
    steps = _steps(around, volume.spacing_mm)
    where = tuple(
        slice(part.start, part.stop, step) for part, step in zip(around, steps, strict=True)
    )
    dz, dy, dx = np.multiply(volume.spacing_mm, steps).tolist()
    part = replace(
        volume,
        image=volume.image[where],
        spacing_mm=(dz, dy, dx),
        reference=_part_of(volume.reference, where),
        prediction=_part_of(volume.prediction, where),
    )
    z, y, x = around
    return part, (z.start, y.start, x.start), steps


def _around_labels(volume: LabeledVolume) -> list[range]:
    """Along z, y and x, the voxels around all labels, or all voxels where there are none."""
    found = np.zeros(volume.image.shape, dtype=bool)
    for labels in (volume.reference, volume.prediction):
        if labels is not None:
            found |= labels > 0
    if not found.any():
        return [*map(range, found.shape)]
    around = []
    for axis, spacing_mm in enumerate(volume.spacing_mm):
        others = tuple({0, 1, 2} - {axis})
        filled = np.flatnonzero(found.any(axis=others))
        margin = int(np.ceil(_MARGIN_MM / spacing_mm))
        first = max(0, int(filled[0]) - margin)
        around.append(range(first, min(found.shape[axis], int(filled[-1]) + margin + 1)))
    return around


def _steps(around: Sequence[range], spacing_mm: tuple[float, float, float]) -> Triple:
    """Every how many voxels along z, y and x are kept: the finest axes are thinned out first."""
    sizes = np.array([*map(len, around)])
    steps = np.ones(3, dtype=int)
    while np.prod(-(-sizes // steps)) > _MOST_VOXELS:
        # An axis that has one voxel left cannot be thinned out further.
        lengths_mm = np.where(sizes > steps, np.multiply(spacing_mm, steps), np.inf)
        steps[lengths_mm.argmin()] += 1
    z, y, x = steps.tolist()
    return z, y, x


def _part_of(labels: LabelImage | None, where: tuple[slice, ...]) -> LabelImage | None:
    if labels is None:
        return None
    return labels[where]


def trained_cases(model: Model, scores: Sequence[CaseScore]) -> list[str]:
    """Those of the evaluated cases that the network was trained on."""
    trained_on = set(recorded_split(model).get("train", []))
    cases = dict.fromkeys(score.case for score in scores)
    return [case for case in cases if case in trained_on]


def worst_first(scores: Sequence[CaseScore]) -> list[str]:
    """Cases by their mean Dice over labels."""
    values: dict[str, list[float]] = {}
    for score in scores:
        values.setdefault(score.case, []).append(badness("dice", score.values["dice"]))
    return sorted(values, key=lambda case: float(np.mean(values[case])), reverse=True)


def _origin_of(manifest: Manifest) -> RunOrigin:
    """What a manifest says, as the page shows it."""
    details = [*manifest.versions.items()]
    for name, value in manifest.machine:
        details.append((name, str(value)))
    for name, value in manifest.execution:
        details.append((f"computed: {name}", str(value)))
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
