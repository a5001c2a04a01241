"""The job `evaluate`: trained networks against labelled cases."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import SimpleITK as sitk  # noqa: N813

from lunet_cli.config.network_cost import count_conv_flops, count_parameters
from lunet_cli.config.options import EvaluationOptions, PredictionOptions
from lunet_cli.config.vocabulary import SplitName
from lunet_cli.engine.data.cases import Case, CaseSet
from lunet_cli.engine.data.labels import LabelScheme
from lunet_cli.engine.data.volume import Geometry
from lunet_cli.engine.evaluation.measurement import (
    CasePair,
    LabelPair,
    Measurement,
    OnEvent,
    Subject,
    masks_of_label,
)
from lunet_cli.engine.inference.images import Location
from lunet_cli.engine.inference.labelled_cases import (
    SegmentedCase,
    SelectedCases,
    scheme_of,
    segment_case,
    select_cases,
)
from lunet_cli.engine.inference.load_model import ModelSource, as_predictor
from lunet_cli.engine.inference.predictor import Predictor
from lunet_cli.engine.run_folder import BEST, RunFolder
from lunet_cli.engine.runtimes.exported_graph import ExportedGraph
from lunet_cli.records.files import sha256_of
from lunet_cli.results.evaluation import EvalResult, EvaluatedCases, EvaluatedModel
from lunet_cli.results.events import Notice, WarningIssued
from lunet_cli.results.words import plural


def evaluate(
    model: ModelSource,
    *,
    data: Location | None = None,
    split: SplitName | None = None,
    labels: dict[str, tuple[int, ...]] | None = None,
    output: Location | None = None,
    options: EvaluationOptions | None = None,
    write: bool = True,
    on_event: OnEvent = lambda event: None,
) -> EvalResult:
    """Segment labelled cases and measure the result, on the grid of the files.

    Args:
        model: What `load_model` has returned, or a path that it takes.
        data: A labelled data set; None takes that of the training.
        split: Which cases: `train` or `val` of the training, `test` as the data set says, or `all`.
            None takes `val` of the data of the training, and `all` of other data.
        labels: Names and values that the outputs mean, for a checkpoint of the authors, which does
            not say.
        output: Where `metrics.csv` and `summary.json` go; None takes `eval/<split>` beside the
            checkpoint, or in `models/<name>` of a model found by its name, with the names of other
            data, another checkpoint than the best one, or an ensemble behind.
        options: What to measure; None takes all metrics.
        write: Whether the files are written; otherwise, `write_evaluation` does it.
        on_event: Called with what happens.

    Returns:
        What was found; cases that could not be used are in `failures`.

    Raises:
        LunetError: Of the kind that fits, if there is nothing to evaluate.

    Example:
        >>> found = lunet.evaluate("runs/phantom", output="evaluated")
        >>> sorted({score.label for score in found.scores})
        ['anterior', 'posterior', 'ventricle']
    """
    predictor = as_predictor(model)
    place: Path | None = None
    if data is not None:
        place = Path(data)
    chosen = split or usual_split(place)
    scheme = scheme_of(predictor.models[0], labels)
    first, *others = predictor.models
    selected = select_cases(first, place, chosen, beside=others)
    scheme = scheme.ignoring(selected.case_set.ignored)
    folder = Path(output or evaluation_folder(predictor, place, chosen))
    measurement = Measurement(options or EvaluationOptions(), folder, on_event)
    if write:
        measurement.tell_replaced()
    _warn(predictor, selected, chosen, on_event)
    count = plural(len(selected.cases), "case")
    on_event(Notice(f"{count}: {selected.origin}; computing in {predictor.ensemble}"))
    pairs: list[CasePair] = []
    for case in selected.cases:
        load = partial(_predict_masks, predictor, scheme, selected, case, on_event)
        pairs.append(CasePair(case.case_id, load))
    measurement.measure(pairs)
    # Only now has a runtime that was left open been chosen.
    subject = Subject(
        title=_title(predictor, selected.origin),
        model=_describe(predictor),
        data=_describe_cases(selected.case_set, chosen, selected.origin),
        scheme=scheme,
    )
    return measurement.result(subject, write=write)


def usual_split(data: Path | None) -> SplitName:
    """The validation cases of the training, or all of other data."""
    if data is None:
        return "val"
    return "all"


def evaluation_folder(predictor: Predictor, data: Path | None, split: SplitName) -> Path:
    """Where an evaluation goes, beside the checkpoint, or in the current folder for a named model.

    The name holds whatever decides on the result, so that different evaluations of a run do not
    overwrite each other.
    """
    model, options = predictor.models[0], predictor.options
    parts: list[str] = [split]
    if data is not None:
        parts.append(data.resolve().name)
    # The best model is what people mean by a run, and needs no name. Exported files differ in
    # their suffix, which is the format.
    if isinstance(model.network, ExportedGraph):
        parts.append(model.path.name.replace(".", "_"))
    elif model.path.name != BEST and model.page is None:
        parts.append(model.path.stem)
    if len(predictor.models) > 1:
        parts.append(f"ensemble_of_{len(predictor.models)}")
    name = "_".join([*parts, *_unusual_options(options)])
    return RunFolder(model.own_folder).evaluation(name)


def _unusual_options(options: PredictionOptions) -> list[str]:
    parts: list[str] = []
    if options.tta:
        parts.append("tta")
    if options.runtime is not None:
        parts.append(f"runtime_{options.runtime}")
    if isinstance(options.window, str):
        parts.append(f"window_{options.window}")
    elif options.window is not None:
        parts.append(f"window_{'x'.join(map(str, options.window))}")
    if options.overlap != PredictionOptions().overlap:
        parts.append(f"overlap_{options.overlap:g}")
    return parts


def _warn(
    predictor: Predictor, selected: SelectedCases, split: SplitName, on_event: OnEvent
) -> None:
    """Tell what a reader of the values should know."""
    seen = selected.trained_on
    if seen and split != "train":
        of_cases = f"{len(seen)} of {plural(len(selected.cases), 'case')}"
        text = f"{of_cases} were trained on, such as {seen[0]}; their values flatter"
        on_event(WarningIssued(text))
    for warning in predictor.warnings():
        on_event(WarningIssued(warning))
    for notice in predictor.notices():
        on_event(Notice(notice))


def _predict_masks(
    predictor: Predictor,
    scheme: LabelScheme,
    selected: SelectedCases,
    case: Case,
    on_event: OnEvent,
) -> tuple[Iterator[LabelPair], Geometry]:
    found = segment_case(
        predictor,
        scheme,
        selected.case_set,
        case,
        num_cases=len(selected.cases),
        on_event=on_event,
    )
    return _masks_of_case(scheme, found), found.segmentation.geometry


def _masks_of_case(scheme: LabelScheme, found: SegmentedCase) -> Iterator[LabelPair]:
    reference = sitk.GetArrayFromImage(found.label)
    for index, (name, values) in enumerate(scheme.regions):
        mask = found.segmentation.mask(index)
        yield name, *masks_of_label(mask, reference, values, scheme.ignored)


def _title(predictor: Predictor, origin: str) -> str:
    model = predictor.models[0]
    title = f"{model.architecture} ({model.path})"
    if len(predictor.models) > 1:
        title += f" and {len(predictor.models) - 1} more"
    if predictor.options.tta:
        title += ", mirrored,"
    return f"{title} on {origin}"


def _describe_cases(case_set: CaseSet, split: SplitName, origin: str) -> EvaluatedCases:
    root: str | None = None
    if case_set.root is not None:
        root = str(case_set.root)
    return EvaluatedCases(root, case_set.layout, split, origin)


def _describe(predictor: Predictor) -> EvaluatedModel:
    options, models, plan = predictor.options, predictor.models, predictor.ensemble.plan
    networks = [model.card.network for model in models]
    paths = [model.path for model in models]
    # Each mirroring is a pass of its own.
    num_mirrorings = predictor.ensemble.num_passes // len(models)
    return EvaluatedModel(
        checkpoints=tuple(map(str, paths)),
        sha256=tuple(map(sha256_of, paths)),
        architecture=models[0].architecture,
        parameters=sum(map(count_parameters, networks)),
        conv_flops_at_64=num_mirrorings * sum(map(count_conv_flops, networks)),
        channels=networks[0].channels,
        execution={"runtime": plan.runtime, "device": plan.device, "precision": plan.precision},
        window=predictor.window or models[0].window,
        overlap=options.overlap,
        tta=options.tta,
    )
