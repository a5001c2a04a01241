"""`lunet eval`: measure a trained network, or label maps of any tool."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from lunet_cli.cli.options import (
    DEFAULT_BATCH_SIZE,
    DEFAULT_OVERLAP,
    Architecture,
    AsJson,
    BatchSize,
    Data,
    Device,
    Ensemble,
    MaxMemory,
    Overlap,
    Precision,
    Runtime,
    Split,
    Threads,
    Tta,
    Window,
    parse_memory,
    parse_window,
)
from lunet_cli.cli.wording import show_progress
from lunet_cli.errors import EXIT_FAILURE, EXIT_INTERRUPTED, ConfigError

if TYPE_CHECKING:
    from lunet_cli.config.metrics import MetricName


def evaluate(
    checkpoint: Annotated[
        Path | None,
        typer.Argument(metavar="CHECKPOINT", help="A best_model.pt, or its run folder."),
    ] = None,
    data: Data = None,
    split: Split = None,
    predictions: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Label maps of any tool, instead of a CHECKPOINT."),
    ] = None,
    references: Annotated[
        Path | None, typer.Option("--labels", metavar="DIR", help="Their references.")
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE[,VALUE]",
            help="Name a label of label maps that do not say; repeatable.",
        ),
    ] = None,
    only_predicted: Annotated[
        bool, typer.Option("--only-predicted", help="Leave out references that have no prediction.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="For metrics.csv and summary.json; eval/SPLIT of the run, or the folder of --predictions.",
        ),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Only this metric; repeatable. All if not given."),
    ] = None,
    tolerance_mm: Annotated[
        float,
        typer.Option(
            "--tolerance", metavar="MM", min=0, help="Distance that NSD still counts as equal."
        ),
    ] = 1.0,
    undefined: Annotated[
        Literal["count", "diagonal"],
        typer.Option(
            help="Distances of a label that is only in one of prediction and reference: left out and counted, or the largest possible."
        ),
    ] = "count",
    ensemble: Ensemble = None,
    tta: Tta = False,
    window: Window = None,
    overlap: Overlap = DEFAULT_OVERLAP,
    batch_size: BatchSize = DEFAULT_BATCH_SIZE,
    max_memory: MaxMemory = None,
    architecture: Architecture = None,
    device: Device = "auto",
    precision: Precision = "auto",
    runtime: Runtime = None,
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Measure a trained network on labelled cases, or label maps against references."""
    by_files = predictions is not None and references is not None
    if (predictions is None) != (references is None) or by_files == (checkpoint is not None):
        raise ConfigError("give either a CHECKPOINT, or both --predictions and --labels")
    of_checkpoint = {
        "--data": data,
        "--split": split,
        "--ensemble": ensemble,
        "--arch": architecture,
        "--tta": tta,
        "--window": window,
        "--overlap": overlap != DEFAULT_OVERLAP,
        "--batch-size": batch_size != DEFAULT_BATCH_SIZE,
        "--max-memory": max_memory,
        "--device": device != "auto",
        "--precision": precision != "auto",
        "--runtime": runtime,
    }
    for name, given in of_checkpoint.items():
        if by_files and given:
            raise ConfigError(f"{name}: belongs to a CHECKPOINT, not to --predictions")
    if only_predicted and not by_files:
        raise ConfigError("--only-predicted: belongs to --predictions, not to a CHECKPOINT")
    regions = parse_labels(label or [])
    sizes, limit = parse_window(window), parse_memory(max_memory)
    metrics = parse_metrics(metric)
    from lunet_cli.engine.evaluation.evaluate import (
        EvaluationOptions,
        evaluate_model,
        score_predictions,
    )
    from lunet_cli.engine.inference.predictor import PredictionOptions, Predictor, set_up_process
    from lunet_cli.records.record import json_text
    from lunet_cli.render.console import make_console, make_status_console
    from lunet_cli.render.tables import eval_table

    set_up_process(threads)
    options = EvaluationOptions(metrics, tolerance_mm, undefined == "diagonal")
    status = make_status_console()
    try:
        with show_progress(status) as on_event:
            if checkpoint is None:
                result = score_predictions(
                    cast("Path", predictions),
                    cast("Path", references),
                    labels=regions,
                    only_predicted=only_predicted,
                    folder=output,
                    options=options,
                    on_event=on_event,
                )
            else:
                how = PredictionOptions(
                    sizes, overlap, batch_size, tta, device, precision, runtime, limit
                )
                predictor = Predictor.load(
                    [checkpoint, *(ensemble or ())], architecture=architecture, options=how
                )
                result = evaluate_model(
                    predictor,
                    data=data,
                    split=split,
                    labels=regions,
                    folder=output,
                    options=options,
                    on_event=on_event,
                )
    except KeyboardInterrupt:
        status.print("Interrupted; nothing was written.")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    if as_json:
        typer.echo(json_text(result), nl=False)
    else:
        make_console().print(eval_table(result))
    if result.failures:
        raise typer.Exit(EXIT_FAILURE)


def parse_labels(texts: list[str]) -> dict[str, tuple[int, ...]] | None:
    """Labels from `NAME=VALUE[,VALUE]`; None where there are none.

    Raises:
        ConfigError: One of them is none.
    """
    found: dict[str, tuple[int, ...]] = {}
    for text in texts:
        name, _, values = text.partition("=")
        numbers = values.split(",")
        if not name or not all(number.isdigit() and int(number) > 0 for number in numbers):
            raise ConfigError(
                f"--label {text}: is not a label", hint="Write anterior=1, or whole=1,2."
            )
        if name in found:
            raise ConfigError(
                f"--label {text}: {name} is named twice", hint="Write several values as whole=1,2."
            )
        found[name] = tuple(map(int, numbers))
    return found or None


def parse_metrics(names: list[str] | None) -> tuple[MetricName, ...]:
    """The metrics to measure, by their names; all where none is given.

    Raises:
        ConfigError: There is no such metric.
    """
    from lunet_cli.config.metrics import METRICS
    from lunet_cli.config.names import closest

    for name in names or ():
        if name not in METRICS:
            raise ConfigError(
                f"--metric {name}: unknown metric. {closest(name, tuple(METRICS))}",
                hint=f"Known: {', '.join(METRICS)}",
            )
    return cast("tuple[MetricName, ...]", tuple(names or METRICS))
