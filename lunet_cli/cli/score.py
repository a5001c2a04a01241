"""`lunet score`: measure label maps of any tool."""

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
from lunet_cli.config.options import EvaluationOptions


def score(
    predictions: Annotated[
        Path, typer.Argument(metavar="PREDICTIONS", help="A folder of label maps, or one.")
    ],
    references: Annotated[
        Path,
        typer.Argument(metavar="REFERENCES", help="Their references, of the same names, or one."),
    ],
    labels: Labels = None,
    ignored_value: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=65535,
            metavar="VALUE",
            help="Value of reference voxels that nobody has labelled; they do not count.",
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
            help="For metrics.csv and summary.json; the folder of the predictions if not given.",
        ),
    ] = None,
    metrics: Metrics = None,
    tolerance_mm: ToleranceMm = USUAL_EVALUATION.tolerance_mm,
    undefined: Undefined = USUAL_EVALUATION.undefined,
    as_json: AsJson = False,
) -> None:
    """Measure label maps of any tool against their references."""
    regions = parse_labels(labels)
    options = EvaluationOptions(
        metrics=metrics or USUAL_EVALUATION.metrics,
        tolerance_mm=tolerance_mm,
        undefined=undefined,
    )
    from lunet_cli.engine.evaluation.score import score as score_label_maps

    with measuring() as on_event:
        result = score_label_maps(
            predictions,
            references,
            labels=regions,
            ignored_value=ignored_value,
            only_predicted=only_predicted,
            output=output,
            options=options,
            on_event=on_event,
        )
    print_result(result, as_json=as_json)
