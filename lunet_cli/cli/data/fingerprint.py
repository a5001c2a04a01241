"""`lunet data fingerprint`: what a data set holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lunet_cli.cli.helping import AsJson
from lunet_cli.cli.wording import show_progress


def fingerprint(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A labelled data set.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write the record as JSON here too."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Summarise shapes, spacings, intensities and labels of all cases."""
    from lunet_cli.engine.data.fingerprint import fingerprint as describe
    from lunet_cli.records.files import require_place
    from lunet_cli.records.record import json_text
    from lunet_cli.render.console import make_console, make_status_console
    from lunet_cli.render.fingerprint import fingerprint_tables

    if output is not None:
        require_place(output)
    with show_progress(make_status_console()) as on_event:
        found = describe(folder, on_event=on_event)
    if output is not None:
        found.write(output)
    if as_json:
        typer.echo(json_text(found))
    else:
        make_console().print(fingerprint_tables(found))
