"""Which networks and settings made the label maps of a folder, so that `resume` does not mix them with others."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lunet_cli.engine.data.volume import has_volume_suffix
from lunet_cli.engine.files import write_atomically
from lunet_cli.engine.inference.inputs import output_suffix
from lunet_cli.engine.inference.outputs import OutputOptions
from lunet_cli.engine.inference.predictor import Predictor
from lunet_cli.engine.provenance import sha256_of
from lunet_cli.errors import OutputError

RECORD = "lunet_predict.json"


def describe_prediction(predictor: Predictor, output: OutputOptions) -> dict[str, Any]:
    """What decides on the label maps, as plain values: the networks by their bytes, and the settings."""
    options = predictor.options
    values = {
        "networks": [_sha256(model.path) for model in predictor.models],
        "window": options.window,
        "overlap": options.overlap,
        "tta": options.tta,
        "precision": options.precision,
        "runtime": options.runtime,
        "postprocess": [asdict(step) for step in output.steps],
        "order": output.order,
    }
    plain: dict[str, Any] = json.loads(json.dumps(values))
    return plain


def require_same_prediction(output: OutputOptions, record: dict[str, Any], *, num_present: int) -> list[str]:
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
    found = _read(path)
    if found is None:
        is_unknown = num_present > 0
        return [f"{output.path}: does not say which network made the {num_present} label maps there"] * is_unknown
    different = [key for key in record if found.get(key) != record[key]]
    if different:
        raise OutputError(
            f"{output.path}: its label maps were made with other {', '.join(different)} ({RECORD})",
            hint="Write elsewhere (-o FOLDER), or predict as before.",
        )
    return []


def write_prediction_record(output: OutputOptions, record: dict[str, Any]) -> None:
    """Leave the record in a folder of label maps; see `require_same_prediction`.

    Raises:
        OutputError: It cannot be written.
    """
    path = _record_path(output)
    if path is not None:
        text = json.dumps(record, indent=2) + "\n"
        write_atomically(path, lambda file: file.write(text.encode()))


def remove_prediction_record(output: OutputOptions) -> None:
    """Take the record out of a folder in which no label map could be written."""
    path = _record_path(output)
    if path is not None and not _holds_volumes(path.parent):
        path.unlink(missing_ok=True)


def _record_path(output: OutputOptions) -> Path | None:
    """The file in the folder of outputs; None where a single file was named."""
    is_file = output_suffix(output.path) is not None and not output.path.is_dir()
    return None if is_file else output.path / RECORD


def _holds_volumes(folder: Path) -> bool:
    return any(has_volume_suffix(path) for path in folder.rglob("*") if path.is_file())


def _read(path: Path) -> dict[str, Any] | None:
    """The record in a folder; None where there is none.

    Raises:
        OutputError: It is damaged.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise OutputError(f"{path}: is damaged", hint="Remove it, or write elsewhere: -o FOLDER")
    return values


def _sha256(path: Path) -> str:
    """The SHA-256 of a network's file, and of the weights that an `.xml` has beside it."""
    weights = path.with_suffix(".bin")
    return sha256_of(path) + (sha256_of(weights) if path.suffix == ".xml" else "")
