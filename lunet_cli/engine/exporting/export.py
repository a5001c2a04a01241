"""The job `export`: a trained network as a file, compared with PyTorch before it is kept."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from lunet_cli.config.options import ExportOptions
from lunet_cli.config.vocabulary import WeightPrecision
from lunet_cli.engine.checkpoints.models import Model, load_model
from lunet_cli.engine.exporting.bundle import NETWORK, write_bundle
from lunet_cli.engine.exporting.comparison import compare
from lunet_cli.engine.exporting.formats import (
    graph_format,
    prepared,
    require_installed,
    suffix_of,
    write_format,
    write_page,
)
from lunet_cli.engine.exporting.windows import (
    Channels,
    same_size,
    volumes_at_hand,
    volumes_of_files,
    windows_of_files,
)
from lunet_cli.engine.inference.images import Location
from lunet_cli.engine.networks.blocks import SegmentationNetwork
from lunet_cli.engine.provenance import machine_name, versions
from lunet_cli.engine.runtimes.tracing import INPUT, OUTPUT
from lunet_cli.errors import CheckpointError, ExportError, OutputError
from lunet_cli.records.export import ExportDescription, ExportMetadata, TensorDescription
from lunet_cli.results.events import Event, Notice, WarningIssued
from lunet_cli.results.exporting import Agreement, ExportResult

OnEvent = Callable[[Event], None]
# Each volume is segmented three times: a few show a graph that computes something else, which is
# wrong everywhere.
_NUM_CHECKED = 4
# Ranges of activations hardly change with more windows, and each is computed once or twice.
_NUM_CALIBRATED = 32
# Largest difference of a probability, and smallest Dice with the label maps of fp32. In fp32 only
# the order of summation differs; fp16 keeps 11 bits. In eight bits probabilities differ by anything
# somewhere, and only the label maps count.
_LIMITS: dict[WeightPrecision, tuple[float, float]] = {
    "fp32": (1e-3, 0.999),
    "fp16": (2e-2, 0.99),
    "int8": (1.0, 0.95),
}


def export(
    source: Location,
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
        source: A checkpoint, a run folder or the name of a model.
        options: What is written.
        architecture: Preset name, for a checkpoint of the authors.
        on_event: Called with what happens.

    Raises:
        ExportError: The file does not compute what the network computes.
        LunetError: Of the kind that fits, if the network or the volumes cannot be used.

    Example:
        >>> options = lunet.ExportOptions(format="torch-export", output="phantom.pt2")
        >>> result = lunet.export("runs/phantom", options)
        >>> [file.name for file in result.files]
        ['phantom.pt2', 'phantom.pt2.json']
    """
    require_installed(options.format, options.weights)
    model = load_model(Path(source), architecture=architecture)
    if not isinstance(model.network, SegmentationNetwork):
        raise CheckpointError(
            f"{model.path}: is an exported graph already", hint="Export from the checkpoint."
        )
    for warning in model.warnings():
        on_event(WarningIssued(warning))
    path = _target(model, options)
    calibration = _calibration(model, options, on_event)
    volumes, origin = _volumes(model, options, on_event)
    metadata = _describe(model, options)
    on_event(Notice(f"writing {model.architecture} as {options.format}, {options.weights}"))
    try:
        # Beside its place, since a file can be moved at once only within a file system.
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
            whole = Path(folder) / path.name
            # Of a page or a bundle, the network in it is compared.
            graph = _graph_of(whole, options)
            write_format(
                prepared(model.network, options.format),
                graph,
                metadata,
                window=model.window or (1, 1, 1),
                calibration=calibration,
            )
            on_event(Notice(f"comparing it with PyTorch on {origin}"))
            runtime, agreement = compare(model, load_model(graph), metadata, volumes, origin)
            _require_agreement(agreement, options)
            if options.format == "html":
                write_page(graph, whole, metadata)
            described = ExportDescription(
                **dict(metadata), agreement=agreement, machine=machine_name()
            )
            if options.format == "monai-bundle":
                described.write(_description_of(graph))
                write_bundle(whole, described)
                files = _move_bundle(whole, path)
            else:
                described.write(_description_of(whole))
                files = _move(Path(folder), path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from None
    return ExportResult(
        architecture=model.architecture,
        format=options.format,
        weights=options.weights,
        runtime=runtime,
        files=files,
        size_on_disk_bytes=_size(files),
        agreement=agreement,
    )


def _calibration(model: Model, options: ExportOptions, on_event: OnEvent) -> list[Tensor]:
    """Windows (C, D, H, W) of one size that give the ranges for eight bits."""
    if options.calibrate is None:
        return []
    found = windows_of_files(
        model, options.calibrate, max_windows=_NUM_CALIBRATED, on_event=on_event
    )
    return same_size(found)


def _volumes(model: Model, options: ExportOptions, on_event: OnEvent) -> tuple[list[Channels], str]:
    """Volumes to compare on, and where they come from, in words."""
    if options.check is None:
        return volumes_at_hand(model, max_volumes=_NUM_CHECKED, on_event=on_event)
    found = volumes_of_files(model, options.check, max_volumes=_NUM_CHECKED, on_event=on_event)
    return found, str(options.check)


def _target(model: Model, options: ExportOptions) -> Path:
    """The file to write.

    Raises:
        OutputError: Its folder cannot be made, or it is there already.
    """
    is_bundle = options.format == "monai-bundle"
    suffix = suffix_of(options.format)
    path = options.output or _usual_target(model, options)
    if not is_bundle and path.suffix != suffix:
        raise OutputError(
            f"{path}: {options.format} files end in {suffix}", hint=f"Name it {path.stem}{suffix}."
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{path.parent}: cannot be made ({error.strerror or error})") from None
    written = [path, _description_of(path)]
    if options.format == "openvino":
        written.append(path.with_suffix(".bin"))
    for taken in written:
        if taken.exists():
            raise OutputError(
                f"{taken}: is there already",
                hint="Name another file as `output`, or remove this one.",
            )
    return path


def _usual_target(model: Model, options: ExportOptions) -> Path:
    name = model.path.stem
    if options.weights != "fp32":
        name = f"{name}_{options.weights}"
    # What is found by its name lies where nobody looks: its files go into the current folder.
    folder = model.path.parent if model.page is None else Path()
    return folder / f"{name}{suffix_of(options.format)}"


def _graph_of(whole: Path, options: ExportOptions) -> Path:
    """Where the network of a file, page or bundle is written; its folder is made."""
    if options.format == "monai-bundle":
        graph = whole / NETWORK
        graph.parent.mkdir(parents=True)
        return graph
    return whole.with_suffix(suffix_of(graph_format(options.format)))


def _move_bundle(whole: Path, path: Path) -> tuple[Path, ...]:
    """Move a folder to its place, and return its files: the network first, what it says last."""
    os.rename(whole, path)
    network = path / NETWORK
    others = [file for file in sorted(path.rglob("*")) if file.is_file()]
    ends = (network, _description_of(network))
    return (network, *(file for file in others if file not in ends), ends[1])


def _description_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _describe(model: Model, options: ExportOptions) -> ExportMetadata:
    """What is needed to use the network elsewhere; docs/export.md explains it."""
    labels = model.card.labels
    return ExportMetadata(
        architecture=model.architecture,
        format=graph_format(options.format),
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
    worst_dice = min(agreement.dice, agreement.documented_dice)
    if agreement.max_difference <= max_difference and worst_dice >= min_dice:
        return
    hint = ""
    if options.weights == "int8":
        hint = "With `weights=int8`, calibrate on more and more typical volumes."
    raise ExportError(
        f"the {options.format} file was not kept: on {agreement.cases}, probabilities differ by up "
        f"to {agreement.max_difference:.2g} (allowed {max_difference:g}) and label maps agree to a "
        f"Dice of {agreement.dice:.4f}, by the script of docs/export.md "
        f"{agreement.documented_dice:.4f} (asked {min_dice:g})",
        hint,
    )


def _move(folder: Path, path: Path) -> tuple[Path, ...]:
    """Move all files to their place, and return them: the network first, the JSON last."""
    written = sorted(folder.iterdir(), key=lambda file: (file.name != path.name, file.suffix))
    # The network last: where it is, the others are.
    for file in reversed(written):
        # Writers differ in what they let others read.
        file.chmod(0o644)
        os.replace(file, path.with_name(file.name))
    return tuple(path.with_name(file.name) for file in written)


def _size(files: tuple[Path, ...]) -> int:
    """Bytes of the network's files, what is said about it left out."""
    size = 0
    for file in files:
        if file.suffix not in (".json", ".py", ".md"):
            size += file.stat().st_size
    return size
