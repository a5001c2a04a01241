"""`lunet export`: a trained network as a file for other programs."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from lunet_cli.cli.helping import AsJson
from lunet_cli.cli.options import Architecture, Threads, complete_model, option
from lunet_cli.cli.signals import ended_by_signals
from lunet_cli.cli.wording import show_progress
from lunet_cli.config.options import ExportOptions
from lunet_cli.config.vocabulary import ExportFormat, WeightPrecision
from lunet_cli.errors import ConfigError

_field = partial(option, ExportOptions)


def export(
    checkpoint: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL",
            help="A best_model.pt, its run folder, or a name of lunet models list.",
            autocompletion=complete_model,
        ),
    ],
    format: Annotated[ExportFormat, _field("format")],  # noqa: A002  # it has the name of the field
    output: Annotated[Path | None, _field("output", "--output", "-o", metavar="FILE")] = None,
    half: Annotated[bool, typer.Option("--half", help="Keep the weights in 16 bits.")] = False,
    int8: Annotated[
        bool, typer.Option("--int8", help="Compute in 8 bits; needs --calibrate.")
    ] = False,
    calibrate: Annotated[Path | None, _field("calibrate", metavar="DIR")] = None,
    check: Annotated[Path | None, _field("check", metavar="DIR")] = None,
    architecture: Architecture = None,
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Write a trained network for use elsewhere, compared with PyTorch before it is kept."""
    options = ExportOptions(
        format=format,
        output=output,
        weights=_weights(half=half, int8=int8),
        calibrate=calibrate,
        check=check,
    )
    from lunet_cli.engine.exporting.export import export
    from lunet_cli.engine.inference.predictor import set_up_process
    from lunet_cli.records.record import json_text
    from lunet_cli.render.console import make_console, make_status_console
    from lunet_cli.render.tables import export_table

    set_up_process(threads)
    with ended_by_signals(), show_progress(make_status_console()) as on_event:
        result = export(checkpoint, options, architecture=architecture, on_event=on_event)
    if as_json:
        typer.echo(json_text(result), nl=False)
    else:
        make_console().print(export_table(result))


def _weights(*, half: bool, int8: bool) -> WeightPrecision:
    if half and int8:
        raise ConfigError("--half and --int8: take one of them")
    if int8:
        return "int8"
    return "fp16" if half else "fp32"
