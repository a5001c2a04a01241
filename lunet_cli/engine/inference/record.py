"""Which networks and settings made the label maps of a folder, so that `resume` does not mix them with others."""

from __future__ import annotations

from pathlib import Path

from lunet_cli.engine.data.volume import has_volume_suffix
from lunet_cli.engine.inference.inputs import output_suffix
from lunet_cli.engine.inference.outputs import OutputOptions
from lunet_cli.engine.inference.predictor import Predictor
from lunet_cli.engine.provenance import sha256_of
from lunet_cli.errors import OutputError
from lunet_cli.records.prediction import PREDICTION, PredictionRecord


def describe_prediction(predictor: Predictor, output: OutputOptions) -> PredictionRecord:
    """What decides on the label maps: the networks by their bytes, and the settings."""
    options = predictor.options
    return PredictionRecord(
        networks=tuple(_sha256(model.path) for model in predictor.models),
        window=options.window,
        overlap=options.overlap,
        tta=options.tta,
        precision=options.precision,
        runtime=options.runtime,
        postprocess=tuple(map(str, output.steps)),
        order=output.order,
    )


def require_same_prediction(
    output: OutputOptions, record: PredictionRecord, *, num_present: int
) -> list[str]:
    """Compare a prediction with that which made the label maps in its folder.

    Args:
        output: Where the label maps go.
        record: See `describe_prediction`.
        num_present: Label maps that are there and are kept.

    Returns:
        What a user should know.

    Raises:
        OutputError: They were made by other networks or with other settings.
    """
    path = _record_path(output)
    if path is None or not _holds_volumes(path.parent):
        return []
    if not path.exists():
        is_unknown = num_present > 0
        return [
            f"{output.path}: does not say which network made the {num_present} label maps there"
        ] * is_unknown
    different = PredictionRecord.read(path).differences(record)
    if different:
        raise OutputError(
            f"{output.path}: its label maps were made with other {', '.join(different)} ({PREDICTION})",
            hint="Write elsewhere (-o FOLDER), or predict as before.",
        )
    return []


def write_prediction_record(output: OutputOptions, record: PredictionRecord) -> None:
    """Leave the record in a folder of label maps; see `require_same_prediction`.

    Raises:
        OutputError: It cannot be written.
    """
    path = _record_path(output)
    if path is not None:
        record.write(path)


def remove_prediction_record(output: OutputOptions) -> None:
    """Take the record out of a folder in which no label map could be written; of several shares, others rely on it."""
    path = _record_path(output)
    if path is not None and output.shard == (0, 1) and not _holds_volumes(path.parent):
        path.unlink(missing_ok=True)


def _record_path(output: OutputOptions) -> Path | None:
    """The file in the folder of outputs; None where a single file was named."""
    is_file = output_suffix(output.path) is not None and not output.path.is_dir()
    return None if is_file else output.path / PREDICTION


def _holds_volumes(folder: Path) -> bool:
    return any(has_volume_suffix(path) for path in folder.rglob("*") if path.is_file())


def _sha256(path: Path) -> str:
    """The SHA-256 of a network's file, and of the weights that an `.xml` has beside it."""
    weights = path.with_suffix(".bin")
    return sha256_of(path) + (sha256_of(weights) if path.suffix == ".xml" else "")
