"""The job `score`: label maps of any tool against reference label maps."""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813

from lunet_cli.config.labels import Regions
from lunet_cli.config.options import EvaluationOptions
from lunet_cli.engine.data.dicom_seg import is_segmentation, open_segmentation
from lunet_cli.engine.data.disk import is_file, is_folder, list_folder, require_present
from lunet_cli.engine.data.labels import LabelScheme
from lunet_cli.engine.data.layouts import find_description, volumes_in
from lunet_cli.engine.data.reading import read_label
from lunet_cli.engine.data.volume import Geometry, stem
from lunet_cli.engine.evaluation.label_masks import LabelMasks, read_masks, shared_grid
from lunet_cli.engine.evaluation.measurement import (
    CasePair,
    LabelPair,
    Measurement,
    OnEvent,
    Subject,
)
from lunet_cli.engine.inference.images import Location
from lunet_cli.errors import DataError
from lunet_cli.results.evaluation import EvalResult, EvaluatedMaps
from lunet_cli.results.events import CaseFailed, WarningIssued
from lunet_cli.results.words import plural

# What marks images and label maps in layouts of the field: `ct_1`, `label_1`, `1_0000`.
_MARKS = re.compile(r"^(ct|label)_|_0000$")

# The finest atlases of the brain have about 300 structures; an MRI has thousands of values.
_MOST_NAMELESS = 500


def score(
    predictions: Location,
    references: Location,
    *,
    labels: dict[str, tuple[int, ...]] | None = None,
    ignored_value: int | None = None,
    only_predicted: bool = False,
    output: Location | None = None,
    options: EvaluationOptions | None = None,
    on_event: OnEvent = lambda event: None,
) -> EvalResult:
    """Measure label maps of any tool.

    Args:
        predictions: A folder of label maps, or one; DICOM segmentations count as such.
        references: A folder of label maps of the same names, or one. Of the names, `ct_`, `label_`
            and `_0000` do not count.
        labels: Names and values; None takes those of a `dataset.json` beside, or else the segments
            of DICOM segmentations, or each value as its own label.
        ignored_value: Value of voxels of the references that nobody has labelled, and that do not
            count; None takes what the `dataset.json` calls `ignore`.
        only_predicted: Whether references without a prediction are left out in silence instead of
            as a failure.
        output: Where `metrics.csv` and `summary.json` go; None takes that of the predictions.
        options: What to measure; None takes all metrics.
        on_event: Called with what happens.

    Returns:
        What was found; cases that could not be used are in `failures`.

    Raises:
        LunetError: Of the kind that fits, if there is nothing to measure.

    Example:
        >>> options = lunet.EvaluationOptions(metrics=("dice",))
        >>> found = lunet.score("labels", "labels", output="scored", options=options)
        >>> found.summaries[0].mean
        1.0
    """
    predictions, references = Path(predictions), Path(references)
    found, expected = _match(predictions, references)
    measurement = Measurement(
        options or EvaluationOptions(), Path(output or _folder_of(predictions)), on_event
    )
    measurement.tell_replaced()
    _tell_surplus(len(found.keys() - expected.keys()), on_event)
    named, ignored = _described(references, predictions)
    if ignored_value is not None:
        ignored = ignored_value
    regions = labels or named or _segments_that_occur(found.values(), expected.values(), on_event)
    if regions is None:
        regions = _labels_that_occur(found.values(), expected.values(), on_event)
        regions.pop(str(ignored), None)
    missing = [name for name in expected if name not in found]
    if missing and not only_predicted:
        measurement.fail(_without_prediction(missing, len(expected), predictions))
    scheme = _scheme_of(regions, references, ignored)
    measurement.measure(list(_pairs(scheme, found, expected, on_event)))
    subject = Subject(
        title=f"{predictions} against {references}",
        model=None,
        data=EvaluatedMaps(str(predictions), str(references)),
        scheme=scheme,
    )
    return measurement.result(subject, write=True)


def _match(predictions: Path, references: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """Predictions and references by the names that pairs have in common.

    Raises:
        DataError: There is no pair.
    """
    found, expected = _label_maps(predictions), _label_maps(references)
    # Of two files, one is meant for the other, whatever they are called.
    if is_file(predictions) and is_file(references):
        found = dict(zip(expected, found.values(), strict=True))
    if found.keys().isdisjoint(expected):
        raise DataError(
            f"{predictions}: no label map is called like one of {references}, such as "
            f"{next(iter(expected))}",
            hint="A prediction has the name of its reference.",
        )
    return found, expected


def _tell_surplus(number: int, on_event: OnEvent) -> None:
    if number:
        words = "prediction has no reference and is", "predictions have no reference and are"
        on_event(WarningIssued(f"{plural(number, *words)} left out"))


def _described(references: Path, predictions: Path) -> tuple[Regions | None, int | None]:
    """Labels, and the value of unlabelled voxels, as a `dataset.json` names them."""
    # Those of the references come first: predictions are measured by them.
    description = find_description(references, predictions)
    if description is None:
        return None, None
    return description.labels, description.ignored


def _scheme_of(
    regions: dict[str, tuple[int, ...]], references: Path, ignored: int | None
) -> LabelScheme:
    if not regions:
        raise DataError(
            f"{references}: no label map has a label",
            hint="Name the labels with `labels`, such as liver=1.",
        )
    # A voxel may belong to several: to the liver and to the whole organ, for instance.
    return LabelScheme(tuple(regions.items()), "sigmoid", ignored)


def _pairs(
    scheme: LabelScheme, found: dict[str, Path], expected: dict[str, Path], on_event: OnEvent
) -> Iterator[CasePair]:
    for name, reference in expected.items():
        if name in found:
            yield CasePair(name, partial(_read_masks, scheme, found[name], reference, on_event))


def _folder_of(predictions: Path) -> Path:
    if is_folder(predictions):
        return predictions
    return predictions.parent


def _label_maps(path: Path) -> dict[str, Path]:
    """Label maps by their names, without what marks images and channels."""
    require_present(path)
    files = [path]
    if is_folder(path):
        files = [*volumes_in(path), *filter(is_segmentation, list_folder(path))]
    if not files:
        raise DataError(f"{path}: holds no label map")
    return {_MARKS.sub("", stem(file).removesuffix(".dcm")): file for file in files}


def _labels_that_occur(
    predictions: Iterable[Path], references: Iterable[Path], on_event: OnEvent
) -> dict[str, tuple[int, ...]]:
    """Each value of the label maps as a label of its own.

    Raises:
        DataError: There are so many that an image is meant as a label map.
    """
    of_predictions, of_references = _values_in(predictions), _values_in(references)
    unexpected = sorted(of_predictions - of_references)
    if unexpected:
        values = ", ".join(map(str, unexpected))
        on_event(WarningIssued(f"label values {values} occur in predictions only"))
    every = sorted(of_references | of_predictions)
    if len(every) > _MOST_NAMELESS:
        raise DataError(
            f"the label maps hold {len(every)} values, as images do",
            hint="Predictions come first, then references; both are label maps.",
        )
    return {str(value): (value,) for value in every}


def _values_in(paths: Iterable[Path]) -> set[int]:
    """Label values that occur in label maps."""
    values: set[int] = set()
    for path in paths:
        with contextlib.suppress(DataError):  # What cannot be read is told when it is measured.
            values |= set(np.unique(sitk.GetArrayFromImage(read_label(path))).tolist())
    return values - {0}


def _segments_that_occur(
    predictions: Iterable[Path], references: Iterable[Path], on_event: OnEvent
) -> Regions | None:
    """The segments of DICOM segmentations as labels; None if there are none."""
    of_references, of_predictions = _segments_in(references), _segments_in(predictions)
    unexpected = ", ".join(name for name in of_predictions if name not in of_references)
    if of_references and unexpected:
        on_event(WarningIssued(f"the segments {unexpected} occur in predictions only"))
    numbers: dict[str, int] = {}
    for name, number in (of_predictions | of_references).items():
        # A number that names another segment in another file is of no use here.
        free = itertools.chain([number], itertools.count(1))
        numbers[name] = next(value for value in free if value not in numbers.values())
    return {name: (number,) for name, number in numbers.items()} or None


def _segments_in(paths: Iterable[Path]) -> dict[str, int]:
    """Names and numbers of segments, of which the number of the first file counts."""
    numbers: dict[str, int] = {}
    for path in filter(is_segmentation, paths):
        with contextlib.suppress(DataError):  # What cannot be read is told when it is measured.
            for segment in open_segmentation(path).segments:
                numbers.setdefault(segment.label, segment.number)
    return numbers


def _without_prediction(missing: list[str], num_references: int, predictions: Path) -> CaseFailed:
    references = plural(num_references, "reference")
    return CaseFailed(
        missing[0],
        f"{predictions}: {len(missing)} of {references} without a prediction, such as {missing[0]}",
        "To measure the others only: `only_predicted=True`",
    )


def _read_masks(
    scheme: LabelScheme, prediction: Path, reference: Path, on_event: OnEvent
) -> tuple[Iterator[LabelPair], Geometry]:
    grid = shared_grid(prediction, reference)
    of_prediction = replace(scheme, ignored=None)  # It has a verdict everywhere.
    predicted = read_masks(prediction, of_prediction, grid, on_event)
    expected = read_masks(reference, scheme, grid, on_event)
    differences = predicted.geometry.differences(expected.geometry)
    if differences:
        raise DataError(
            f"{prediction}: does not lie on the grid of {reference}: {'; '.join(differences)}",
            hint="Resample the prediction onto the reference (nearest neighbour).",
        )
    return _pairs_of_masks(scheme, predicted, expected), expected.geometry


def _pairs_of_masks(
    scheme: LabelScheme, prediction: LabelMasks, reference: LabelMasks
) -> Iterator[LabelPair]:
    for name, values in scheme.regions:
        predicted, expected = prediction.mask(name, values), reference.mask(name, values)
        if scheme.ignored is not None:
            # Nothing is predicted where nobody has said what is there.
            predicted &= ~reference.mask("", (scheme.ignored,))
        yield name, predicted, expected
