"""The job `gather_report`: a run's course, configuration, results and most telling cases."""

from __future__ import annotations

import datetime
import json
import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lunet_cli import __version__
from lunet_cli.config.metrics import METRICS
from lunet_cli.engine.evaluation.evaluate import EvaluationOptions, evaluate_model
from lunet_cli.engine.evaluation.files import TABLE, read_evaluation
from lunet_cli.engine.evaluation.summary import badness
from lunet_cli.engine.inference.labelled_cases import SplitName
from lunet_cli.engine.inference.predictor import PredictionOptions, Predictor
from lunet_cli.engine.viewing.cases import CaseViews
from lunet_cli.engine.viewing.courses import read_course
from lunet_cli.errors import DataError, LunetError
from lunet_cli.results.evaluation import CaseScore, EvalResult
from lunet_cli.results.events import Caution, Event, Notice
from lunet_cli.results.report import ReportCase, RunReport
from lunet_cli.results.views import LabeledVolume

_MARGIN_MM = 15.0
_MOST_VOXELS = 600_000  # per case: three of them, each with two label maps, stay below 10 MB in a page


def gather_report(
    run: Path,
    *,
    data: Path | None = None,
    split: SplitName | None = None,
    options: PredictionOptions | None = None,
    on_event: Callable[[Event], None] = lambda event: None,
) -> RunReport:
    """Bring together everything about a run.

    Cases are evaluated if `lunet eval` has not done that since the checkpoint was written. What cannot be had, for
    instance because the data have moved, is left out and told.

    Args:
        run: A run folder.
        data: A labelled data set; None takes that of the training.
        split: Which cases; None takes `val` of the data of the training, and `all` of other data.
        options: How to predict; None takes the usual way.
        on_event: Called with what happens.

    Raises:
        DataError: The folder holds no training.
    """
    course = read_course(run)
    cautions: list[str] = []
    evaluation: EvalResult | None = None
    cases: tuple[ReportCase, ...] = ()
    try:
        predictor = Predictor.load([run], options=options or PredictionOptions())
        evaluation = _evaluate(predictor, run, data, split, on_event)
        cases = _telling_cases(predictor, evaluation, data, split, on_event)
    except LunetError as error:
        missing = "the cases have no pictures" if evaluation is not None else "there are no results of cases"
        cautions.append(f"{missing}: {error.message}")
        on_event(Caution(cautions[-1] + (f" ({error.hint})" if error.hint else "")))
    return RunReport(
        run_dir=run,
        course=course,
        config=_read(run / "config.yaml"),
        manifest=_read_json(run / "manifest.json"),
        outcome=_read_json(run / "summary.json"),
        evaluation=evaluation,
        cases=cases,
        cautions=tuple(cautions),
        commands=_commands(run, data, split),
        made=f"{datetime.datetime.now().astimezone().isoformat(timespec='minutes')}, lunet {__version__}",
    )


def crop(volume: LabeledVolume) -> tuple[LabeledVolume, tuple[int, int, int], int]:
    """The part of a volume around its labels, thinned out where it is still large.

    Returns:
        The part, the index of its first voxel along z, y and x, and how many voxels one of its voxels stands for.
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
    size = np.prod(np.subtract(stop, first), dtype=float)
    step = max(1, int(np.ceil((size / _MOST_VOXELS) ** (1 / 3))))
    where = tuple(slice(low, high, step) for low, high in zip(first, stop, strict=True))
    z, y, x = (spacing_mm * step for spacing_mm in volume.spacing_mm)
    part = replace(
        volume,
        image=volume.image[where],
        spacing_mm=(z, y, x),
        reference=None if volume.reference is None else volume.reference[where],
        prediction=None if volume.prediction is None else volume.prediction[where],
    )
    return part, (first[0], first[1], first[2]), step


def _evaluate(
    predictor: Predictor, run: Path, data: Path | None, split: SplitName | None, on_event: Callable[[Event], None]
) -> EvalResult:
    folder = run / "eval" / (split or "val")
    table, checkpoint = folder / TABLE, predictor.models[0].path
    if data is None and table.is_file() and table.stat().st_mtime >= checkpoint.stat().st_mtime:
        on_event(Notice(f"results of cases: {folder}, of lunet eval"))
        return read_evaluation(folder)
    result = evaluate_model(predictor, data=data, split=split, options=EvaluationOptions(), on_event=on_event)
    if not result.scores:
        raise DataError("no case could be evaluated")
    return result


def _telling_cases(
    predictor: Predictor,
    evaluation: EvalResult,
    data: Path | None,
    split: SplitName | None,
    on_event: Callable[[Event], None],
) -> tuple[ReportCase, ...]:
    views = CaseViews(predictor, data=data, split=split)
    order = worst_first(evaluation.scores)
    roles = {len(order) // 2: "median", len(order) - 1: "best", 0: "worst"}  # Of few cases, one has several.
    cases = []
    for place in sorted(roles):
        part, first, step = crop(views.load(order[place], on_event))
        cases.append(ReportCase(roles[place], part, first, step))
    return tuple(cases)


def worst_first(scores: Sequence[CaseScore]) -> list[str]:
    """Cases by their mean over labels, of Dice or else of the first metric that was measured."""
    metric = next(name for name in METRICS if name in scores[0].values)
    values: dict[str, list[float]] = {}
    for score in scores:
        values.setdefault(score.case, []).append(badness(metric, score.values[metric]))
    return sorted(values, key=lambda case: float(np.mean(values[case])), reverse=True)


def _commands(run: Path, data: Path | None, split: SplitName | None) -> tuple[tuple[str, str], ...]:
    where = [*(["--data", str(data)] if data else []), *(["--split", split] if split else [])]
    again = ["lunet", "train", str(run / "config.yaml"), "--set", f"experiment.name={run.resolve().name}_again"]
    return (
        ("train it again", shlex.join(again)),
        ("measure it", shlex.join(["lunet", "eval", str(run), *where])),
        ("look at a case", shlex.join(["lunet", "viz", "slices", str(run), *where, "--interactive"])),
        ("make this page", shlex.join(["lunet", "report", str(run), *where])),
    )


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from None


def _read_json(path: Path) -> dict[str, Any]:
    text = _read(path)
    try:
        values = json.loads(text or "{}")
    except ValueError as error:
        raise DataError(f"{path}: no valid JSON ({error})") from None
    return values if isinstance(values, dict) else {}
