"""`lunet export`: a trained network as a file for other programs."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from lunet_cli.cli.helping import AsJson
from lunet_cli.cli.options import Architecture, Threads
from lunet_cli.cli.signals import ended_by_signals
from lunet_cli.cli.wording import show_progress
from lunet_cli.errors import ConfigError


def export(
    checkpoint: Annotated[
        Path, typer.Argument(metavar="CHECKPOINT", help="A best_model.pt, or its run folder.")
    ],
    file_format: Annotated[
        Literal["onnx", "openvino", "torch-export", "safetensors"],
        typer.Option("--format", help="What to write."),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Beside the checkpoint if not given."),
    ] = None,
    half: Annotated[bool, typer.Option("--half", help="Keep the weights in 16 bits.")] = False,
    int8: Annotated[
        bool, typer.Option("--int8", help="Compute in 8 bits; needs --calibrate.")
    ] = False,
    calibrate: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Typical volumes, which give the ranges for --int8."),
    ] = None,
    check: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Volumes to compare on; the validation cases of the training if not given.",
        ),
    ] = None,
    architecture: Architecture = None,
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Write a trained network for use elsewhere, compared with PyTorch before it is kept."""
    if half and int8:
        raise ConfigError("--half and --int8: take one of them")
    if int8 != (calibrate is not None):
        raise ConfigError(
            "--int8 and --calibrate DIR: belong together", hint="Name a folder of typical volumes."
        )
    from lunet_cli.engine.exporting.export import ExportOptions, export
    from lunet_cli.engine.inference.predictor import set_up_process
    from lunet_cli.render.console import make_console, make_status_console
    from lunet_cli.render.tables import export_table

    set_up_process(threads)
    options = ExportOptions(
        file_format, output, "int8" if int8 else "fp16" if half else "fp32", calibrate, check
    )
    with ended_by_signals(), show_progress(make_status_console()) as on_event:
        result = export(checkpoint, options, architecture=architecture, on_event=on_event)
    if as_json:
        typer.echo(json.dumps(asdict(result), indent=2, default=str))
    else:
        make_console().print(export_table(result))
