"""The application `lunet`: its commands, and the only place where errors become words on the screen."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Annotated

import typer
from typer.exceptions import TyperException

from lunet_cli import __version__
from lunet_cli.cli import (
    bench,
    compare,
    config,
    evaluate,
    export,
    predict,
    presets,
    report,
    score,
    train,
    viz,
)
from lunet_cli.cli.failure import print_error, usage_error
from lunet_cli.cli.helping import PlainCommand, new_app
from lunet_cli.cli.options import LENIENT
from lunet_cli.cli.streams import prepare_streams
from lunet_cli.errors import EXIT_INTERRUPTED, LunetError

app = new_app(
    "Compact 3D segmentation networks for medical images: train, measure and shrink them.",
    name="lunet",
    pretty_exceptions_enable=False,
)
_COMMANDS: dict[str, tuple[Callable[..., None], str]] = {
    "predict": (predict.predict, "Segment volumes with a trained network."),
    "eval": (evaluate.evaluate, "Measure a network on labelled cases."),
    "score": (score.score, "Measure label maps of any tool."),
    "compare": (compare.compare, "Compare evaluated runs case by case, and their costs."),
    "export": (export.export, "Write a trained network for other programs."),
    "bench": (bench.bench, "Measure what networks cost and how fast they run."),
    "report": (report.report, "Write one page about a run."),
}
app.command(
    "train",
    cls=PlainCommand,
    context_settings=LENIENT,
    short_help="Train a network as a configuration says.",
)(train.train)
for _name, (_command, _summary) in _COMMANDS.items():
    app.command(_name, cls=PlainCommand, short_help=_summary)(_command)
app.add_typer(viz.app, name="viz", short_help="Look at trainings, cases, volumes and networks.")
app.add_typer(presets.app, name="presets")
app.add_typer(config.app, name="config")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"lunet {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Compact 3D segmentation networks for medical images: train, measure and shrink them."""


def _let_idle_threads_sleep() -> None:
    """Let threads that wait long for each other give up their core; to be called before torch is loaded.

    OpenMP's threads spin at the end of each parallel loop, and keep the core from the very thread
    that they wait for where other programs want it too. GNU's spin for 300,000 rounds; to sleep at
    once costs a training alone a third of its speed. 10,000 rounds cost it a twentieth
    (benchmarks/busy.py). The variable is read when the library is loaded.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")


def main() -> None:
    """Run the application and turn errors meant for people into one line, a hint and an exit code."""
    _let_idle_threads_sleep()
    try:
        prepare_streams()
        try:
            code = app(standalone_mode=False)
        except TyperException as error:
            raise usage_error(error) from None
        finally:
            sys.stdout.flush()  # Here, what cannot be written is still told in words.
        sys.exit(code)
    except LunetError as error:
        print_error(error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(EXIT_INTERRUPTED)
