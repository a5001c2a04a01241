"""The application `lunet`: its commands, and the only place where errors become words on the screen."""

from __future__ import annotations

import io
import sys
from typing import Annotated

import typer

from lunet_cli import __version__
from lunet_cli.cli import bench, compare, config, evaluate, export, predict, presets, report, train, viz
from lunet_cli.cli.failure import print_error
from lunet_cli.cli.options import LENIENT
from lunet_cli.errors import EXIT_INTERRUPTED, LunetError

app = typer.Typer(
    name="lunet",
    help="Compact 3D segmentation networks for medical images.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.command("train", context_settings=LENIENT)(train.train)
app.command("predict")(predict.predict)
app.command("eval")(evaluate.evaluate)
app.command("compare")(compare.compare)
app.command("export")(export.export)
app.command("bench")(bench.bench)
app.command("report")(report.report)
app.add_typer(viz.app, name="viz")
app.add_typer(presets.app, name="presets")
app.add_typer(config.app, name="config")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"lunet {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Compact 3D segmentation networks for medical images: train, measure and shrink them."""


def main() -> None:
    """Run the application and turn errors meant for people into one line, a hint and an exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # What an old terminal has no character for, it shows as `?`.
    try:
        app()
    except LunetError as error:
        print_error(error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(EXIT_INTERRUPTED)
