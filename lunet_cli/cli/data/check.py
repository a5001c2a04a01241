"""`lunet data check`: all that is wrong with a data set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lunet_cli.cli.config_file import Overrides, read_config
from lunet_cli.cli.helping import AsJson
from lunet_cli.cli.wording import reworded, show_progress
from lunet_cli.errors import EXIT_FAILURE, ConfigError

if TYPE_CHECKING:
    from lunet_cli.records.check import DataCheck, DataMending


def check(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="DIR|CONFIG|IMAGE",
            help="A labelled data set; a configuration, whose labels, split and preprocessing "
            "count too; or one image.",
        ),
    ],
    label: Annotated[
        Path | None, typer.Argument(metavar="LABEL", help="The label map of one image.")
    ] = None,
    overrides: Overrides = None,
    fix: Annotated[
        Path | None,
        typer.Option(
            metavar="OUT",
            help="Copy the data set to OUT, mend there what is safe to mend, and check that.",
        ),
    ] = None,
    resample: Annotated[
        bool,
        typer.Option(
            "--resample", help="With --fix: bring label maps on another grid onto their image, too."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Read every case and list all that is wrong; exit code 1 if anything is."""
    _require_fitting(source, label, overrides, fix, resample)
    from lunet_cli.engine.data.check import check_data
    from lunet_cli.engine.data.mending import mend_data
    from lunet_cli.records.record import json_text
    from lunet_cli.render.check import check_table, mending_table
    from lunet_cli.render.console import make_console, make_status_console

    found: DataCheck | DataMending
    with show_progress(make_status_console()) as on_event:
        if fix is not None:
            found = mend_data(source, fix, resample=resample, on_event=on_event)
            table = mending_table(found, reworded)
        else:
            is_config = label is None and not source.is_dir()
            subject = read_config(source, overrides) if is_config else source
            found = check_data(subject, label=label, on_event=on_event)
            table = check_table(found, reworded)
    if as_json:
        typer.echo(json_text(found))
    else:
        make_console().print(table)
    if found.problems:
        raise typer.Exit(EXIT_FAILURE)


def _require_fitting(
    source: Path, label: Path | None, overrides: list[str] | None, fix: Path | None, resample: bool
) -> None:
    """Raise if options are given that mean nothing beside the others."""
    is_folder = label is None and source.is_dir()
    is_image = label is None and source.is_file() and source.suffix not in (".yaml", ".yml")
    if overrides and (is_folder or label is not None):
        raise ConfigError("--set is for a configuration; name one instead of a folder or image")
    if is_image:
        raise ConfigError(
            f"{source}: is neither a folder nor a configuration",
            hint="An image is checked together with its label map: IMAGE LABEL",
        )
    if resample and fix is None:
        raise ConfigError("--resample is for --fix OUT, which copies the data set")
    if fix is not None and not is_folder:
        raise ConfigError(
            "--fix copies a data set", hint="Name its folder instead of a configuration or image."
        )
