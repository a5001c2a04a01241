"""The job `export`: a trained network as a file for other programs, compared with PyTorch before it is kept."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from lunet_cli.engine.checkpoints.models import Model, load_model
from lunet_cli.engine.exporting.comparison import compare
from lunet_cli.engine.exporting.formats import (
    ExportFormat,
    Weights,
    require_possible,
    suffix_of,
    write_format,
)
from lunet_cli.engine.exporting.windows import (
    same_size,
    volumes_at_hand,
    volumes_of_files,
    windows_of_files,
)
from lunet_cli.engine.networks.blocks import SegmentationNetwork
from lunet_cli.engine.networks.execution import machine_name
from lunet_cli.engine.provenance import versions
from lunet_cli.engine.runtimes.tracing import INPUT, OUTPUT
from lunet_cli.errors import CheckpointError, ExportError, OutputError
from lunet_cli.records.export import ExportDescription, ExportMetadata, TensorDescription
from lunet_cli.results.events import Event, Notice
from lunet_cli.results.exporting import Agreement, ExportResult

OnEvent = Callable[[Event], None]
_NUM_CHECKED = 4
_NUM_CALIBRATED = 32
# Largest difference of a probability, and smallest Dice with the label maps of fp32.
_LIMITS: dict[Weights, tuple[float, float]] = {
    "fp32": (1e-3, 0.999),
    "fp16": (2e-2, 0.99),
    "int8": (1.0, 0.95),
}


@dataclass(frozen=True)
class ExportOptions:
    """What is written.

    Args:
        format: Its format.
        output: The file; None puts it beside the checkpoint.
        weights: How weights are kept; `int8` computes in eight bits as well.
        calibrate: Volumes whose windows give the ranges for `int8`.
        check: Volumes to compare on; None takes the validation cases of the training.
    """

    format: ExportFormat
    output: Path | None = None
    weights: Weights = "fp32"
    calibrate: Path | None = None
    check: Path | None = None


def export(
    source: Path,
    options: ExportOptions,
    *,
    architecture: str | None = None,
    on_event: OnEvent = lambda event: None,
) -> ExportResult:
    """Write a trained network for use elsewhere.

    The file is written aside, loaded as `lunet predict` would, and compared with PyTorch on whole
    volumes, by `predict` and in the way docs/export.md shows. It is moved to its place only if both
    give the label maps of the checkpoint.

    Args:
        source: A checkpoint or run folder.
        options: What is written.
        architecture: Preset name, for a checkpoint of the authors.
        on_event: Called with what happens.

    Raises:
        ExportError: The file does not compute what the network computes.
        LunetError: Of the kind that fits, if the network or the volumes cannot be used.
    """
    require_possible(options.format, options.weights)
    model = load_model(source, architecture=architecture)
    if not isinstance(model.network, SegmentationNetwork):
        raise CheckpointError(
            f"{model.path}: is an exported graph already", hint="Export from the checkpoint."
        )
    path = _target(model, options)
    calibration: list[Tensor] = []
    if options.weights == "int8":
        assert options.calibrate is not None
        found = windows_of_files(
            model, options.calibrate, max_windows=_NUM_CALIBRATED, on_event=on_event
        )
        calibration = same_size(found)
    if options.check is not None:
        volumes = volumes_of_files(
            model, options.check, max_volumes=_NUM_CHECKED, on_event=on_event
        )
        origin = str(options.check)
    else:
        volumes, origin = volumes_at_hand(model, max_volumes=_NUM_CHECKED, on_event=on_event)
    on_event(Notice(f"writing {model.architecture} as {options.format}, {options.weights}"))
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
            partial = Path(folder) / path.name
            metadata = _describe(model, options)
            window = model.window or (1, 1, 1)
            write_format(
                options.format,
                model.network,
                window,
                partial,
                metadata,
                options.weights,
                calibration,
            )
            on_event(Notice(f"comparing it with PyTorch on {origin}"))
            runtime, agreement = compare(
                model, load_model(partial), metadata.model_dump(mode="json"), volumes, origin
            )
            _require_agreement(agreement, options)
            described = ExportDescription(
                **dict(metadata), agreement=agreement, machine=machine_name()
            )
            described.write(_description_of(partial))
            files = _move(Path(folder), path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from None
    size = sum(file.stat().st_size for file in files if file.suffix != ".json")
    return ExportResult(
        model.architecture, options.format, options.weights, runtime, files, size, agreement
    )


def _target(model: Model, options: ExportOptions) -> Path:
    """The file to write.

    Raises:
        OutputError: Its folder cannot be made, or it is there already.
    """
    suffix = suffix_of(options.format)
    quantised = "" if options.weights == "fp32" else f"_{options.weights}"
    path = options.output or model.path.with_name(f"{model.path.stem}{quantised}{suffix}")
    if path.suffix != suffix:
        raise OutputError(
            f"{path}: {options.format} files end in {suffix}", hint=f"Name it {path.stem}{suffix}."
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{path.parent}: cannot be made ({error.strerror or error})") from None
    weights = [path.with_suffix(".bin")] if options.format == "openvino" else []
    for taken in (path, *weights, _description_of(path)):
        if taken.exists():
            raise OutputError(
                f"{taken}: is there already", hint="Name another file with -o, or remove this one."
            )
    return path


def _description_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _describe(model: Model, options: ExportOptions) -> ExportMetadata:
    """What is needed to use the network elsewhere; docs/export.md explains it."""
    labels = model.card.labels
    return ExportMetadata(
        architecture=model.architecture,
        format=options.format,
        weights=options.weights,
        input=TensorDescription(
            name=INPUT, axes=("batch", "channel", "z", "y", "x"), dtype="float32"
        ),
        output=TensorDescription(
            name=OUTPUT, axes=("batch", "class", "z", "y", "x"), dtype="float32"
        ),
        activation=labels.activation,
        label_values=labels.painted_values(),
        **dict(model.card.to_record()),
        takes_whole_volumes=model.window is None,
        execution=model.execution,
        config=model.config,
        versions=versions(),
    )


def _require_agreement(agreement: Agreement, options: ExportOptions) -> None:
    max_difference, min_dice = _LIMITS[options.weights]
    if (
        agreement.max_difference <= max_difference
        and min(agreement.dice, agreement.documented_dice) >= min_dice
    ):
        return
    raise ExportError(
        f"the {options.format} file was not kept: on {agreement.cases}, probabilities differ by up to "
        f"{agreement.max_difference:.2g} (allowed {max_difference:g}) and label maps agree to a Dice of "
        f"{agreement.dice:.4f}, by the script of docs/export.md {agreement.documented_dice:.4f} (asked {min_dice:g})",
        hint="With --int8, calibrate on more and more typical volumes."
        if options.weights == "int8"
        else "",
    )


def _move(folder: Path, path: Path) -> tuple[Path, ...]:
    """Move all files to their place, the network last: where it is, the others are."""
    others = sorted(file for file in folder.iterdir() if file.name != path.name)
    for file in (*others, folder / path.name):
        file.chmod(0o644)
    for file in others:
        os.replace(file, path.with_name(file.name))
    os.replace(folder / path.name, path)
    moved = [path.with_name(file.name) for file in others]
    return (path, *sorted(moved, key=lambda file: file.suffix == ".json"))
