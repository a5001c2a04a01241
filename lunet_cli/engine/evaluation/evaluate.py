"""The job `evaluate`: trained networks against labelled cases, or masks from any tool against reference masks."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk  # noqa: N813

from lunet_cli.config.metrics import MetricName
from lunet_cli.config.network import count_conv_flops, count_parameters
from lunet_cli.engine.data.cases import Case, CaseSet
from lunet_cli.engine.data.disk import is_file, is_folder, require_present
from lunet_cli.engine.data.labels import LabelScheme
from lunet_cli.engine.data.layouts import find_labels, volumes_in
from lunet_cli.engine.data.reading import read_label
from lunet_cli.engine.data.store import require_known_values
from lunet_cli.engine.data.volume import Geometry, stem
from lunet_cli.engine.evaluation.scores import ALL_METRICS, score_label
from lunet_cli.engine.evaluation.summary import NUM_RESAMPLES, SEED, summarize
from lunet_cli.engine.inference.labelled_cases import (
    SplitName,
    recorded_split,
    scheme_of,
    segment_case,
    select_cases,
)
from lunet_cli.engine.inference.predictor import PredictionOptions, Predictor
from lunet_cli.engine.provenance import sha256_of, versions
from lunet_cli.engine.run_folder import BEST, RunFolder
from lunet_cli.engine.runtimes.exported_graph import ExportedGraph
from lunet_cli.errors import DataError, LunetError
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
from lunet_cli.results.events import CaseFailed, Event, Notice, WarningIssued, warnings_to
from lunet_cli.results.words import plural

OnEvent = Callable[[Event], None]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class EvaluationOptions:
    """What to measure.

    Args:
        metrics: The metrics.
        tolerance_mm: Distance that NSD still counts as equal.
        penalty: Whether undefined distances in mm take the diagonal of the field of view, the
            largest one possible, instead of being left out of the mean and counted.
    """

    metrics: tuple[MetricName, ...] = ALL_METRICS
    tolerance_mm: float = 1.0
    penalty: bool = False


@dataclass(frozen=True)
class _Pair:
    """A case to measure: `load` gives the masks of each label, prediction first, and the grid."""

    case: str
    load: Callable[[], tuple[Iterator[tuple[str, Mask, Mask]], Geometry]]


def evaluate_model(
    predictor: Predictor,
    *,
    data: Path | None = None,
    split: SplitName | None = None,
    labels: dict[str, tuple[int, ...]] | None = None,
    folder: Path | None = None,
    options: EvaluationOptions = EvaluationOptions(),
    write: bool = True,
    on_event: OnEvent = lambda event: None,
) -> EvalResult:
    """Segment labelled cases and measure the result, on the grid of the files.

    Args:
        predictor: The networks.
        data: A labelled data set; None takes that of the training.
        split: Which cases: `train` or `val` of the training, `test` as the data set says, or `all`.
            None takes `val` of the data of the training, and `all` of other data.
        labels: Names and values that the outputs mean, for a checkpoint of the authors, which does
            not say.
        folder: Where `metrics.csv` and `summary.json` go; None takes `eval/<split>` beside the
            checkpoint, with the names of other data, another checkpoint than the best one, or an
            ensemble behind.
        options: What to measure.
        write: Whether the files are written; otherwise, `write_evaluation` does it.
        on_event: Called with what happens.

    Returns:
        What was found; cases that could not be used are in `failures`.

    Raises:
        LunetError: Of the kind that fits, if there is nothing to evaluate.
    """
    model = predictor.models[0]
    scheme = scheme_of(model, labels)
    chosen: SplitName = split or ("val" if data is None else "all")
    case_set, cases, origin = select_cases(model, data, chosen)
    destination = folder or evaluation_folder(predictor, data, chosen)
    if write:
        _tell_replaced(destination, on_event)
    trained_on = recorded_split(model).get("train", [])
    seen = (
        [case.case_id for case in cases if case.case_id in set(trained_on)]
        if chosen != "train"
        else []
    )
    if seen:
        on_event(
            WarningIssued(
                f"{len(seen)} of {plural(len(cases), 'case')} were trained on, such as {seen[0]}; their values flatter"
            )
        )
    for warning in predictor.warnings():
        on_event(WarningIssued(warning))
    on_event(Notice(f"{plural(len(cases), 'case')}: {origin}; computing in {predictor.ensemble}"))

    def pair(case: Case) -> _Pair:
        return _Pair(
            case.case_id,
            lambda: _predict_masks(predictor, scheme, case_set, case, len(cases), on_event),
        )

    scores, failures = _measure([pair(case) for case in cases], options, on_event)
    root = None if case_set.root is None else str(case_set.root)
    evaluated = EvaluatedCases(root, case_set.layout, chosen, origin)
    facts = _facts(_describe(predictor), evaluated, scheme, options, scores)
    others = f" and {len(predictor.models) - 1} more" if len(predictor.models) > 1 else ""
    title = f"{model.architecture} ({model.path}){others}{', mirrored,' if predictor.options.tta else ''} on {origin}"
    return _finish(title, scores, failures, facts, destination, options, write=write)


def score_predictions(
    predictions: Path,
    references: Path,
    *,
    labels: dict[str, tuple[int, ...]] | None = None,
    only_predicted: bool = False,
    folder: Path | None = None,
    options: EvaluationOptions = EvaluationOptions(),
    on_event: OnEvent = lambda event: None,
) -> EvalResult:
    """Measure label maps of any tool.

    Args:
        predictions: A folder of label maps, or one.
        references: A folder of label maps of the same names, or one. Of the names, `ct_`, `label_`
            and `_0000` do not count.
        labels: Names and values; None takes those of a `dataset.json` beside, or else each value as
            its own label.
        only_predicted: Whether references without a prediction are left out in silence instead of
            as a failure.
        folder: Where `metrics.csv` and `summary.json` go; None takes that of the predictions.
        options: What to measure.
        on_event: Called with what happens.

    Raises:
        LunetError: Of the kind that fits, if there is nothing to evaluate.
    """
    found, expected = _label_maps(predictions), _label_maps(references)
    destination = folder or (predictions if is_folder(predictions) else predictions.parent)
    _tell_replaced(destination, on_event)
    if is_file(predictions) and is_file(references):
        found = dict(zip(expected, found.values(), strict=True))
    missing = [name for name in expected if name not in found]
    if len(missing) == len(expected):
        raise DataError(
            f"{predictions}: no label map is called like one of {references}, such as {missing[0]}",
            hint="A prediction has the name of its reference.",
        )
    surplus = len([name for name in found if name not in expected])
    if surplus:
        words = "prediction has no reference and is", "predictions have no reference and are"
        on_event(WarningIssued(f"{plural(surplus, *words)} left out"))
    regions = labels or find_labels(references, predictions)
    if regions is None:
        of_references, of_predictions = (
            _values_in([*expected.values()]),
            _values_in([*found.values()]),
        )
        unexpected = sorted(of_predictions - of_references)
        if unexpected:
            on_event(
                WarningIssued(
                    f"label values {', '.join(map(str, unexpected))} occur in predictions only"
                )
            )
        regions = {str(value): (value,) for value in sorted(of_references | of_predictions)}
    if not regions:
        raise DataError(
            f"{references}: no label map has a label",
            hint="Name the labels with --label NAME=VALUE.",
        )
    scheme = LabelScheme(tuple(regions.items()), "sigmoid")
    failures = []
    if missing and not only_predicted:
        what = f"{len(missing)} of {plural(len(expected), 'reference')} without a prediction, such as {missing[0]}"
        failures = [
            CaseFailed(
                missing[0], f"{predictions}: {what}", "To measure the others only: --only-predicted"
            )
        ]
        on_event(failures[0])
    pairs = [
        _Pair(name, lambda name=name: _read_masks(scheme, found[name], expected[name], on_event))  # type: ignore[misc]
        for name in expected
        if name in found
    ]
    scores, failed = _measure(pairs, options, on_event)
    evaluated = EvaluatedMaps(str(predictions), str(references))
    facts = _facts(None, evaluated, scheme, options, scores)
    title = f"{predictions} against {references}"
    return _finish(title, scores, [*failures, *failed], facts, destination, options)


def _measure(
    pairs: Sequence[_Pair], options: EvaluationOptions, on_event: OnEvent
) -> tuple[list[CaseScore], list[CaseFailed]]:
    scores: list[CaseScore] = []
    failures: list[CaseFailed] = []
    for number, pair in enumerate(pairs, start=1):
        try:
            masks, geometry = pair.load()
            rows = [
                score_label(
                    pair.case,
                    label,
                    prediction,
                    reference,
                    geometry.spacing_mm,
                    metrics=options.metrics,
                    tolerance_mm=options.tolerance_mm,
                )
                for label, prediction, reference in masks
            ]
        except LunetError as error:
            failures.append(CaseFailed(pair.case, error.message, error.hint))
            on_event(failures[-1])
            continue
        scores += [row.penalized() for row in rows] if options.penalty else rows
        dice = [row.values["dice"] for row in rows if "dice" in row.values]
        on_event(CaseScored(pair.case, float(np.mean(dice)) if dice else None, number, len(pairs)))
    return scores, failures


def _finish(
    title: str,
    scores: list[CaseScore],
    failures: list[CaseFailed],
    facts: EvaluationFacts,
    folder: Path,
    options: EvaluationOptions,
    *,
    write: bool = True,
) -> EvalResult:
    summaries = summarize(scores, metrics=options.metrics)
    result = EvalResult(title, tuple(scores), summaries, tuple(failures), facts, folder)
    if scores and write:
        write_evaluation(result, options.metrics)
    return result


def _predict_masks(
    predictor: Predictor,
    scheme: LabelScheme,
    case_set: CaseSet,
    case: Case,
    num_cases: int,
    on_event: OnEvent,
) -> tuple[Iterator[tuple[str, Mask, Mask]], Geometry]:
    found = segment_case(predictor, scheme, case_set, case, num_cases=num_cases, on_event=on_event)
    reference = sitk.GetArrayFromImage(found.label)

    def masks() -> Iterator[tuple[str, Mask, Mask]]:
        for index, (name, values) in enumerate(scheme.regions):
            yield name, found.segmentation.mask(index), _has_value(reference, values)

    return masks(), found.segmentation.geometry


def _read_masks(
    scheme: LabelScheme, prediction: Path, reference: Path, on_event: OnEvent
) -> tuple[Iterator[tuple[str, Mask, Mask]], Geometry]:
    maps = [read_label(path, on_remark=warnings_to(on_event)) for path in (prediction, reference)]
    geometries = [Geometry.of(label) for label in maps]
    differences = geometries[0].differences(geometries[1])
    if differences:
        raise DataError(
            f"{prediction}: does not lie on the grid of {reference}: {'; '.join(differences)}",
            hint="Resample the prediction onto the reference (nearest neighbour).",
        )
    for path, label in zip((prediction, reference), maps, strict=True):
        require_known_values(str(path), label, scheme)
    arrays = [sitk.GetArrayFromImage(label) for label in maps]

    def masks() -> Iterator[tuple[str, Mask, Mask]]:
        for name, values in scheme.regions:
            yield name, _has_value(arrays[0], values), _has_value(arrays[1], values)

    return masks(), geometries[1]


def evaluation_folder(predictor: Predictor, data: Path | None, split: SplitName) -> Path:
    """Where an evaluation goes, beside the checkpoint; different ones of a run do not overwrite each other."""
    model = predictor.models[0]
    parts: list[str] = [split]
    parts += [] if data is None else [data.resolve().name]
    is_graph = isinstance(model.network, ExportedGraph)
    parts += (
        []
        if model.path.name == BEST
        else [model.path.name.replace(".", "_") if is_graph else model.path.stem]
    )
    parts += [f"ensemble_of_{len(predictor.models)}"] if len(predictor.models) > 1 else []
    options, usual = predictor.options, PredictionOptions()
    window = (
        "x".join(map(str, options.window)) if isinstance(options.window, tuple) else options.window
    )
    parts += ["tta"] if options.tta else []
    parts += [f"runtime_{options.runtime}"] if options.runtime is not None else []
    parts += [f"window_{window}"] if window is not None else []
    parts += [f"overlap_{options.overlap:g}"] if options.overlap != usual.overlap else []
    return RunFolder(model.path.parent).evaluation("_".join(parts))


def _has_value(array: npt.NDArray[np.uint16], values: tuple[int, ...]) -> Mask:
    mask: Mask = array == values[0]
    for value in values[1:]:
        mask |= array == value
    return mask


def _tell_replaced(folder: Path, on_event: OnEvent) -> None:
    """Tell if an earlier evaluation will be replaced, before a long one is begun.

    Raises:
        OutputError: A file of another program has the name of one of ours, such as the
            `summary.json` of nnU-Net.
    """
    made = require_own_place(folder)
    if made is not None:
        on_event(
            Notice(
                f"replaces the evaluation of {made.isoformat(sep=' ', timespec='minutes')} in {folder}"
            )
        )


def _label_maps(path: Path) -> dict[str, Path]:
    """Label maps by their names, without what marks images and channels."""
    require_present(path)
    files = volumes_in(path) if is_folder(path) else [path]
    if not files:
        raise DataError(f"{path}: holds no label map")
    return {re.sub(r"^(ct|label)_|_0000$", "", stem(file)): file for file in files}


def _values_in(paths: Sequence[Path]) -> set[int]:
    """Label values that occur in label maps; what cannot be read is told when it is measured."""
    values: set[int] = set()
    for path in paths:
        with contextlib.suppress(DataError):
            values |= set(np.unique(sitk.GetArrayFromImage(read_label(path))).tolist())
    return values - {0}


def _describe(predictor: Predictor) -> EvaluatedModel:
    options, models, plan = predictor.options, predictor.models, predictor.ensemble.plan
    flops = sum(count_conv_flops(model.card.network) for model in models)
    return EvaluatedModel(
        checkpoints=tuple(str(model.path) for model in models),
        sha256=tuple(sha256_of(model.path) for model in models),
        architecture=models[0].architecture,
        parameters=sum(count_parameters(model.card.network) for model in models),
        conv_flops_at_64=8 * flops if options.tta else flops,
        channels=predictor.card.network.channels,
        execution={"runtime": plan.runtime, "device": plan.device, "precision": plan.precision},
        window=options.window or models[0].window,
        overlap=options.overlap,
        tta=options.tta,
    )


def _facts(
    model: EvaluatedModel | None,
    data: EvaluatedCases | EvaluatedMaps,
    scheme: LabelScheme,
    options: EvaluationOptions,
    scores: Sequence[CaseScore],
) -> EvaluationFacts:
    return EvaluationFacts(
        model=model,
        data=data,
        labels=dict(scheme.regions),
        num_cases=len({score.case for score in scores}),
        nsd_tolerance_mm=options.tolerance_mm,
        undefined_distances="diagonal of the field of view" if options.penalty else "left out",
        bootstrap=Bootstrap(NUM_RESAMPLES, SEED, "95 % percentile, over cases"),
        versions=versions(),
    )
