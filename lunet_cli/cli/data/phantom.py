"""`lunet data phantom`: built-in volumes as files."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from lunet_cli.cli.following import program
from lunet_cli.cli.options import option
from lunet_cli.cli.wording import show_progress
from lunet_cli.config.options import PhantomOptions
from lunet_cli.results.words import plural, visible

USUAL_PHANTOM = PhantomOptions()


def phantom(
    folder: Annotated[Path, typer.Argument(metavar="OUT", help="The new data set.")],
    layout: Annotated[str, option(PhantomOptions, "layout", metavar="NAME")] = USUAL_PHANTOM.layout,
    num_cases: Annotated[
        int, option(PhantomOptions, "num_cases", "--cases", metavar="N")
    ] = USUAL_PHANTOM.num_cases,
    size: Annotated[str, option(PhantomOptions, "size", metavar="SIZE")] = "48",
    spacing_mm: Annotated[
        tuple[float, float, float],
        option(PhantomOptions, "spacing_mm", "--spacing", metavar="Z Y X"),
    ] = USUAL_PHANTOM.spacing_mm,
    num_channels: Annotated[
        int, option(PhantomOptions, "num_channels", "--channels", metavar="N")
    ] = USUAL_PHANTOM.num_channels,
    modality: Annotated[
        str, option(PhantomOptions, "modality", metavar="mri|ct")
    ] = USUAL_PHANTOM.modality,
    suffix: Annotated[
        str, option(PhantomOptions, "suffix", "--format", metavar="SUFFIX")
    ] = USUAL_PHANTOM.suffix,
    seed: Annotated[int, option(PhantomOptions, "seed", metavar="N")] = USUAL_PHANTOM.seed,
) -> None:
    """Write built-in volumes as a data set, to try things on."""
    given: dict[str, object] = {
        "layout": layout,
        "num_cases": num_cases,
        "size": size,
        "spacing_mm": spacing_mm,
        "num_channels": num_channels,
        "modality": modality,
        "suffix": suffix,
        "seed": seed,
    }
    options = PhantomOptions.model_validate(given)
    from lunet_cli.engine.data.phantom_files import write_phantom
    from lunet_cli.render.console import make_status_console

    with show_progress(make_status_console()) as on_event:
        write_phantom(folder, options, on_event=on_event)
    command = shlex.join([*program(), "train", "--data", str(folder)])
    typer.echo(visible(f"{folder}: {plural(num_cases, 'case')}; train with `{command}`"))
