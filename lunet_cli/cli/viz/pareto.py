"""`lunet viz pareto`: networks by quality and cost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lunet_cli.cli.viz.display import NoColor, Output, open_screen, require_output, save
from lunet_cli.config.metrics import require_metric
from lunet_cli.results.words import visible

if TYPE_CHECKING:
    from lunet_cli.config.metrics import MetricName


def pareto(
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN|FILE.json",
            help="Evaluated runs, or a file of lunet compare --json; with one of lunet bench "
            "--save, --cost latency.",
        ),
    ],
    cost: Annotated[
        Literal["parameters", "flops", "latency"],
        typer.Option(help="What quality is drawn against."),
    ] = "parameters",
    metric: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="What quality is; that of the files, or dice, if not given."
        ),
    ] = None,
    evaluation: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Which evaluation of the runs: a folder in RUN/eval; val if not given.",
        ),
    ] = None,
    output: Output = None,
    no_color: NoColor = False,
) -> None:
    """Draw networks by quality and cost, with the front that no other one beats."""
    key: MetricName | None = None
    if metric is not None:
        key = require_metric(metric)
    require_output(output, no_color=no_color)
    from lunet_cli.engine.viewing.pareto import pareto as find_pareto

    found = find_pareto(sources, cost=cost, metric=key, evaluation=evaluation)
    if output is not None:
        from lunet_cli.render.figures.pareto import pareto_figure

        save(pareto_figure(found), output)
        # A picture for a paper has no room for those that are missing from it.
        if found.left_out:
            typer.echo(visible(found.left_out_words), err=True)
        return
    from lunet_cli.render.terminal.pareto import draw_pareto

    console, screen = open_screen(no_color=no_color)
    console.print(draw_pareto(found, screen))
