"""`lunet predict`: from volumes to label maps in the patient's own space."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lunet_cli.cli.helping import AsJson
from lunet_cli.cli.options import Architecture, Ensemble, Model, Threads, option
from lunet_cli.cli.prediction import (
    USUAL_PREDICTION,
    BatchSize,
    Device,
    MaxMemory,
    Overlap,
    Precision,
    Runtime,
    Tta,
    Window,
)
from lunet_cli.cli.signals import ended_by_signals
from lunet_cli.cli.wording import reworded, show_progress
from lunet_cli.config.options import OutputOptions, PredictionOptions
from lunet_cli.config.vocabulary import VOLUME_SUFFIXES
from lunet_cli.errors import EXIT_FAILURE, EXIT_INTERRUPTED, ConfigError

if TYPE_CHECKING:
    from lunet_cli.results.events import Event
    from lunet_cli.results.prediction import PredictResult

_FORMATS = "|".join([*(suffix.removeprefix(".") for suffix in VOLUME_SUFFIXES), "dicom-seg"])


Inputs = Annotated[
    list[Path],
    typer.Argument(metavar="INPUT", help="Volumes, folders of them, or folders of DICOM series."),
]
Output = Annotated[Path, option(OutputOptions, "output", "--output", "-o", metavar="OUT")]
Suffix = Annotated[str | None, option(OutputOptions, "suffix", "--format", metavar=_FORMATS)]
Labelmap = Annotated[bool, option(OutputOptions, "labelmap", "--labelmap")]
Probabilities = Annotated[bool, option(OutputOptions, "probabilities", "--probabilities")]
Bids = Annotated[bool, option(OutputOptions, "bids", "--bids")]
Postprocess = Annotated[
    list[str] | None, option(OutputOptions, "postprocess", metavar="[LABEL:]STEP")
]
Order = Annotated[str | None, option(OutputOptions, "order", metavar="LABEL,...")]
Series = Annotated[str | None, option(OutputOptions, "series", metavar="NAME")]
Resume = Annotated[bool, option(OutputOptions, "resume", "--resume")]
Shard = Annotated[
    str | None,
    typer.Option(
        metavar="I/N",
        help="Do the I-th of N shares, from 1; torchrun's rank and world size otherwise.",
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Estimate memory and time of each volume, write nothing.")
]
Explain = Annotated[
    bool, typer.Option("--explain", help="Show which runtimes were tried, and why one was taken.")
]


def predict(
    model: Model,
    inputs: Inputs,
    output: Output,
    suffix: Suffix = None,
    labelmap: Labelmap = False,
    probabilities: Probabilities = False,
    bids: Bids = False,
    ensemble: Ensemble = None,
    tta: Tta = USUAL_PREDICTION.tta,
    window: Window = None,
    overlap: Overlap = USUAL_PREDICTION.overlap,
    batch_size: BatchSize = USUAL_PREDICTION.batch_size,
    postprocess: Postprocess = None,
    order: Order = None,
    series: Series = None,
    resume: Resume = False,
    shard: Shard = None,
    max_memory_mib: MaxMemory = None,
    dry_run: DryRun = False,
    architecture: Architecture = None,
    device: Device = USUAL_PREDICTION.device,
    precision: Precision = USUAL_PREDICTION.precision,
    # Other than in Python: who starts a command waits for it, and compares no numbers.
    runtime: Runtime = "auto",
    threads: Threads = None,
    explain: Explain = False,
    as_json: AsJson = False,
) -> None:
    """Segment volumes with a trained network; each output lies exactly on its input."""
    how = PredictionOptions(
        window=window,
        overlap=overlap,
        batch_size=batch_size,
        tta=tta,
        device=device,
        precision=precision,
        runtime=runtime,
        max_memory_mib=max_memory_mib,
    )
    where = OutputOptions(
        output=output,
        suffix=suffix,
        labelmap=labelmap,
        probabilities=probabilities,
        bids=bids,
        postprocess=tuple(postprocess or ()),
        order=order,
        resume=resume,
        shard=parse_shard(shard),
        series=series,
    )
    from lunet_cli.engine.inference.load_model import load_model
    from lunet_cli.engine.inference.predict import predict as predict_files
    from lunet_cli.engine.inference.predictor import set_up_process

    set_up_process(threads)
    networks = load_model([model, *(ensemble or ())], architecture=architecture, options=how)
    with _going_on() as on_event:
        result = predict_files(networks, inputs, where, dry_run=dry_run, on_event=on_event)
    _print(result, dry_run=dry_run, explain=explain, as_json=as_json)
    if result.failures:
        raise typer.Exit(EXIT_FAILURE)


@contextmanager
def _going_on() -> Iterator[Callable[[Event], None]]:
    """Yield a function that shows events; tell how to go on after an interruption."""
    from lunet_cli.render.console import make_status_console

    status = make_status_console()
    try:
        with ended_by_signals(), show_progress(status) as on_event:
            yield on_event
    except KeyboardInterrupt:
        again = [arg for arg in sys.argv[1:] if arg != "--resume"]
        status.print("Interrupted; finished files are whole. Go on with:")
        status.print(f"  {shlex.join(['lunet', *again, '--resume'])}", soft_wrap=True)
        raise typer.Exit(EXIT_INTERRUPTED) from None


def _print(result: PredictResult, *, dry_run: bool, explain: bool, as_json: bool) -> None:
    from lunet_cli.records.record import json_text
    from lunet_cli.render.console import make_console
    from lunet_cli.render.tables import predict_plan_table, predict_table, runtime_table

    if as_json:
        predicted = [asdict(case) | {"remark": case.remark} for case in result.predicted]
        typer.echo(json_text(asdict(result) | {"predicted": predicted}), nl=False)
        return
    if dry_run:
        make_console().print(predict_plan_table(result))
    else:
        make_console().print(predict_table(result))
    if explain:
        make_console().print(runtime_table(result, reworded))


def parse_shard(text: str | None) -> tuple[int, int]:
    """Share (from 0) and number of shares, from `I/N` and from what torchrun sets.

    What torchrun sets divides the share `I/N` further.

    Raises:
        ConfigError: `text` or what is in the environment is not a share.
    """
    rank, world = os.environ.get("RANK", "0"), os.environ.get("WORLD_SIZE", "1")
    is_rank = rank.isdigit() and world.isdigit() and int(rank) < int(world)
    if not is_rank:
        raise ConfigError(
            f"RANK={rank} and WORLD_SIZE={world} in the environment are not a share of processes"
        )
    if text is None:
        return int(rank), int(world)
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise ConfigError(
            f"--shard {text}: is not a share",
            hint="Write 1/4, 2/4, 3/4 and 4/4 for four processes.",
        )
    number, count = int(match[1]), int(match[2])
    return (number - 1) * int(world) + int(rank), count * int(world)
