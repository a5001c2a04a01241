"""Which networks and settings made the label maps of a folder, so that none of others join them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lunet_cli.config.options import OutputOptions
from lunet_cli.engine.inference.outputs import names_a_file, suffix_of
from lunet_cli.engine.inference.postprocessing import Step
from lunet_cli.engine.inference.predictor import Predictor
from lunet_cli.errors import OutputError
from lunet_cli.records.prediction import PREDICTION, PredictionRecord
from lunet_cli.results.words import plural


def describe_prediction(
    predictor: Predictor, steps: Sequence[Step], writing: OutputOptions
) -> PredictionRecord:
    """What decides on the label maps: the networks by their bytes, and the settings."""
    options = predictor.options
    return PredictionRecord(
        networks=predictor.digests,
        models=tuple(model.page.identity for model in predictor.models if model.page is not None),
        window=predictor.window,
        overlap=options.overlap,
        tta=options.tta,
        precision=options.precision,
        runtime=options.runtime,
        postprocess=tuple(map(str, steps)),
        order=writing.order,
    )


def require_same_prediction(
    writing: OutputOptions, record: PredictionRecord, *, num_present: int
) -> list[str]:
    """Compare a prediction with that which made the label maps in its folder.

    Args:
        writing: Where the label maps go.
        record: See `describe_prediction`.
        num_present: Label maps that are there and are kept.

    Returns:
        What a user should know.

    Raises:
        OutputError: They were made by other networks or with other settings.
    """
    path = _record_path(writing)
    if path is None or not _holds_volumes(path.parent):
        return []
    if path.exists():
        _require_same(PredictionRecord.read(path), record, writing)
        return []
    if num_present == 0:
        return []
    maps = plural(num_present, "label map")
    return [f"{writing.output}: does not say which network made the {maps} there"]


def _require_same(
    earlier: PredictionRecord, record: PredictionRecord, writing: OutputOptions
) -> None:
    different = earlier.differences(record)
    if different:
        raise OutputError(
            f"{writing.output}: its label maps were made with other {', '.join(different)} "
            f"({PREDICTION})",
            hint="Write elsewhere (`output=FOLDER`), or predict as before.",
        )


def write_prediction_record(writing: OutputOptions, record: PredictionRecord) -> None:
    """Leave the record in a folder of label maps; see `require_same_prediction`.

    Raises:
        OutputError: It cannot be written.
    """
    path = _record_path(writing)
    if path is not None:
        record.write(path)


def remove_prediction_record(writing: OutputOptions) -> None:
    """Take the record out of a folder in which no label map could be written."""
    path = _record_path(writing)
    is_alone = writing.shard == (0, 1)  # Processes that do other shares rely on it.
    if path is not None and is_alone and not _holds_volumes(path.parent):
        path.unlink(missing_ok=True)


def _record_path(writing: OutputOptions) -> Path | None:
    """The file in the folder of outputs; None where a single file was named."""
    if names_a_file(writing.output):
        return None
    return writing.output / PREDICTION


def _holds_volumes(folder: Path) -> bool:
    return any(suffix_of(path) is not None and path.is_file() for path in folder.rglob("*"))
