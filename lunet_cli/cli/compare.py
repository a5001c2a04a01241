"""`lunet compare`: evaluated runs against each other, and against what they cost."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, cast

import typer

from lunet_cli.cli.helping import AsJson
from lunet_cli.config.metrics import MetricName


def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN",
            help="Evaluated runs, or folders with a metrics.csv; the first is the baseline.",
        ),
    ],
    metric: Annotated[
        str, typer.Option(metavar="NAME", help="What they are compared by.")
    ] = "dice",
    evaluation: Annotated[
        str,
        typer.Option(metavar="NAME", help="Which evaluation of the runs: a folder in RUN/eval."),
    ] = "val",
    as_json: AsJson = False,
) -> None:
    """Compare evaluated runs case by case, and Dice with parameters and FLOPs."""
    from lunet_cli.engine.evaluation.compare import compare as compare_runs
    from lunet_cli.records.comparison import ComparisonRecord
    from lunet_cli.records.record import json_text
    from lunet_cli.render.console import make_console
    from lunet_cli.render.tables import compare_table

    result = compare_runs(runs, metric=cast("MetricName", metric), evaluation=evaluation)
    if as_json:
        typer.echo(json_text(ComparisonRecord.of(result)), nl=False)
        return
    make_console().print(compare_table(result))
