"""`lunet predict`: from volumes to label maps in the patient's own space."""

from __future__ import annotations

import json
import os
import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lunet_cli.cli.options import (
    DEFAULT_BATCH_SIZE,
    DEFAULT_OVERLAP,
    Architecture,
    AsJson,
    BatchSize,
    Device,
    Ensemble,
    MaxMemory,
    Overlap,
    Precision,
    Runtime,
    Threads,
    Tta,
    Window,
    parse_memory,
    parse_window,
)
from lunet_cli.cli.signals import ended_by_signals
from lunet_cli.cli.wording import reworded, show_progress
from lunet_cli.errors import EXIT_FAILURE, EXIT_INTERRUPTED, ConfigError

if TYPE_CHECKING:
    from lunet_cli.results.prediction import PredictResult

FORMATS = ("nii.gz", "nii", "nrrd", "mha")


def predict(
    checkpoint: Annotated[
        Path,
        typer.Argument(
            metavar="CHECKPOINT", help="A best_model.pt, its run folder, or an exported file."
        ),
    ],
    inputs: Annotated[
        list[Path],
        typer.Argument(
            metavar="INPUT", help="Volumes, folders of them, or folders of DICOM series."
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="OUT", help="Folder, or file for one volume.")
    ],
    file_format: Annotated[
        str | None,
        typer.Option("--format", metavar="|".join(FORMATS), help="Format of the outputs."),
    ] = None,
    probabilities: Annotated[
        bool,
        typer.Option(
            "--probabilities", help="Write a float map per label too, as NAME_prob_LABEL."
        ),
    ] = False,
    ensemble: Ensemble = None,
    tta: Tta = False,
    window: Window = None,
    overlap: Overlap = DEFAULT_OVERLAP,
    batch_size: BatchSize = DEFAULT_BATCH_SIZE,
    steps: Annotated[
        list[str] | None,
        typer.Option(
            "--postprocess",
            metavar="[LABEL:]STEP",
            help="min-volume=ML, fill-holes or largest-component; repeatable, applied in order.",
        ),
    ] = None,
    order: Annotated[
        str | None,
        typer.Option(
            metavar="LABEL,...", help="Paint overlapping labels in this order, the last on top."
        ),
    ] = None,
    series: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Number, description or UID of the DICOM series to take."
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Skip volumes whose output is there.")
    ] = False,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N",
            help="Do the I-th of N shares, from 1; torchrun's rank and world size otherwise.",
        ),
    ] = None,
    max_memory: MaxMemory = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Estimate memory and time of each volume, write nothing."),
    ] = False,
    architecture: Architecture = None,
    device: Device = "auto",
    precision: Precision = "auto",
    runtime: Runtime = "auto",
    threads: Threads = None,
    explain: Annotated[
        bool,
        typer.Option("--explain", help="Show which runtimes were tried, and why one was taken."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Segment volumes with a trained network; each output lies exactly on its input."""
    if file_format is not None and file_format not in FORMATS:
        raise ConfigError(
            f"--format {file_format}: unknown format", hint=f"Known: {', '.join(FORMATS)}"
        )
    share = parse_shard(shard)
    sizes, limit = parse_window(window), parse_memory(max_memory)
    from lunet_cli.engine.inference.outputs import OutputOptions
    from lunet_cli.engine.inference.postprocessing import parse_step
    from lunet_cli.engine.inference.predict import predict_files
    from lunet_cli.engine.inference.predictor import PredictionOptions, Predictor, set_up_process
    from lunet_cli.render.console import make_console, make_status_console
    from lunet_cli.render.tables import predict_plan_table, predict_table, runtime_table

    set_up_process(threads)
    options = PredictionOptions(sizes, overlap, batch_size, tta, device, precision, runtime, limit)
    predictor = Predictor.load(
        [checkpoint, *(ensemble or ())], architecture=architecture, options=options
    )
    labels = predictor.card.labels.names
    writing = OutputOptions(
        path=output,
        suffix=None if file_format is None else f".{file_format}",
        probabilities=probabilities,
        steps=tuple(parse_step(text, labels) for text in steps or ()),
        order=None if order is None else tuple(name.strip() for name in order.split(",")),
        resume=resume,
        shard=share,
        series=series,
    )
    status = make_status_console()
    try:
        with ended_by_signals(), show_progress(status) as on_event:
            result = predict_files(predictor, inputs, writing, dry_run=dry_run, on_event=on_event)
    except KeyboardInterrupt:
        again = [arg for arg in sys.argv[1:] if arg != "--resume"]
        status.print("Interrupted; finished files are whole. Go on with:")
        status.print(f"  {shlex.join(['lunet', *again, '--resume'])}", soft_wrap=True)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    if as_json:
        typer.echo(json.dumps(_to_json(result), indent=2))
    else:
        make_console().print(predict_plan_table(result) if dry_run else predict_table(result))
        if explain:
            make_console().print(runtime_table(result, reworded))
    if result.failures:
        raise typer.Exit(EXIT_FAILURE)


def parse_shard(text: str | None) -> tuple[int, int]:
    """Share (from 0) and number of shares, from `I/N` and from what torchrun sets, which divides that share further.

    Raises:
        ConfigError: `text` or what is in the environment is not a share.
    """
    rank, world = os.environ.get("RANK", "0"), os.environ.get("WORLD_SIZE", "1")
    if not (rank.isdigit() and world.isdigit() and int(rank) < int(world)):
        raise ConfigError(
            f"RANK={rank} and WORLD_SIZE={world} in the environment are not a share of processes"
        )
    if text is None:
        return int(rank), int(world)
    number, slash, count = text.partition("/")
    if not (slash and number.isdigit() and count.isdigit() and 1 <= int(number) <= int(count)):
        raise ConfigError(
            f"--shard {text}: is not a share",
            hint="Write 1/4, 2/4, 3/4 and 4/4 for four processes.",
        )
    return (int(number) - 1) * int(world) + int(rank), int(count) * int(world)


def _to_json(result: PredictResult) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(asdict(result), default=str))
    for case, told in zip(result.predicted, plain["predicted"], strict=True):
        told["remark"] = case.remark
    return plain
