"""`lunet eval`: measure a trained network on labelled cases."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lunet_cli.cli.helping import AsJson
from lunet_cli.cli.measuring import (
    USUAL_EVALUATION,
    Labels,
    Metrics,
    ToleranceMm,
    Undefined,
    measuring,
    parse_labels,
    print_result,
)
from lunet_cli.cli.options import Architecture, Data, Ensemble, Model, Split, Threads
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
from lunet_cli.config.options import EvaluationOptions, PredictionOptions


def evaluate(
    model: Model,
    data: Data = None,
    split: Split = None,
    labels: Labels = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="For metrics.csv and summary.json; eval/SPLIT of the run if not given.",
        ),
    ] = None,
    metrics: Metrics = None,
    tolerance_mm: ToleranceMm = USUAL_EVALUATION.tolerance_mm,
    undefined: Undefined = USUAL_EVALUATION.undefined,
    ensemble: Ensemble = None,
    tta: Tta = USUAL_PREDICTION.tta,
    window: Window = None,
    overlap: Overlap = USUAL_PREDICTION.overlap,
    batch_size: BatchSize = USUAL_PREDICTION.batch_size,
    max_memory_mib: MaxMemory = None,
    architecture: Architecture = None,
    device: Device = USUAL_PREDICTION.device,
    precision: Precision = USUAL_PREDICTION.precision,
    runtime: Runtime = None,
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Measure a trained network on labelled cases; label maps of other tools: lunet score."""
    regions = parse_labels(labels)
    options = EvaluationOptions(
        metrics=metrics or USUAL_EVALUATION.metrics,
        tolerance_mm=tolerance_mm,
        undefined=undefined,
    )
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
    from lunet_cli.engine.evaluation.evaluate import evaluate as evaluate_model
    from lunet_cli.engine.inference.load_model import load_model
    from lunet_cli.engine.inference.predictor import set_up_process

    set_up_process(threads)
    with measuring() as on_event:
        result = evaluate_model(
            load_model([model, *(ensemble or ())], architecture=architecture, options=how),
            data=data,
            split=split,
            labels=regions,
            output=output,
            options=options,
            on_event=on_event,
        )
    print_result(result, as_json=as_json)
