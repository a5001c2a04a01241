"""`lunet report`: everything about a run as one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lunet_cli.cli.options import Data, Device, Split, Threads
from lunet_cli.cli.wording import show_progress
from lunet_cli.errors import EXIT_FAILURE, ConfigError
from lunet_cli.results.words import visible


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE.html", help="The page; RUN/report.html if not given."
        ),
    ] = None,
    data: Data = None,
    split: Split = None,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Write one page about a run that needs no network: curves, every case, pictures, and how to repeat it."""
    if output is not None and output.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"-o {output}: is not a page", hint="End the name with .html.")
    from lunet_cli.engine.run_folder import RunFolder
    from lunet_cli.engine.viewing.histories import read_history
    from lunet_cli.records.files import require_place, write_atomically

    read_history(run)  # Whether there is a training here, before PyTorch is loaded.
    place = output or RunFolder(run).report
    require_place(place)
    from lunet_cli.engine.inference.predictor import PredictionOptions, set_up_process
    from lunet_cli.engine.reporting.report import gather_report
    from lunet_cli.render.console import make_status_console
    from lunet_cli.render.report.page import render_page

    set_up_process(threads)
    with show_progress(make_status_console()) as on_event:
        found = gather_report(
            run, data=data, split=split, options=PredictionOptions(device=device), on_event=on_event
        )
        page = render_page(found)
    write_atomically(place, lambda file: file.write(page.encode()))
    typer.echo(visible(f"{place} ({len(page) / 1e6:.1f} MB)"))
    if found.evaluation is not None and found.evaluation.failures:
        raise typer.Exit(EXIT_FAILURE)
