"""The application `lunet`: its commands, and the one place where errors become words on screen."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer
from typer.exceptions import TyperException

from lunet_cli import __version__
from lunet_cli.cli.failure import print_error, usage_error
from lunet_cli.cli.helping import LENIENT, Command, new_app
from lunet_cli.cli.streams import prepare_streams
from lunet_cli.errors import EXIT_INTERRUPTED, LunetError

_COMMANDS = {
    "train": Command(
        "lunet_cli.cli.train:train", "Train a network as a configuration says.", LENIENT
    ),
    "distill": Command(
        "lunet_cli.cli.distill:distill",
        "Train a network on the probabilities of a teacher, beside the labels.",
        LENIENT,
    ),
    "predict": Command("lunet_cli.cli.predict:predict", "Segment volumes with a trained network."),
    "serve": Command(
        "lunet_cli.cli.serve:serve", "Keep networks in memory, and segment what is sent to them."
    ),
    "eval": Command("lunet_cli.cli.evaluate:evaluate", "Measure a network on labelled cases."),
    "score": Command("lunet_cli.cli.score:score", "Measure label maps of any tool."),
    "compare": Command(
        "lunet_cli.cli.compare:compare", "Compare evaluated runs case by case, and their costs."
    ),
    "prune": Command(
        "lunet_cli.cli.prune.job:prune",
        "Remove channels of a network step by step, and see what that costs.",
        LENIENT,
        below="lunet_cli.cli.prune:app",
    ),
    "shrink": Command(
        "lunet_cli.cli.shrink:shrink", "Find the smallest network that is as good.", LENIENT
    ),
    "study": Command(
        "lunet_cli.cli.study:study",
        "Train many combinations of settings, and compare them.",
        LENIENT,
    ),
    "export": Command("lunet_cli.cli.export:export", "Write a trained network for other programs."),
    "bench": Command(
        "lunet_cli.cli.bench:bench", "Measure what networks cost and how fast they run."
    ),
    "data": Command("lunet_cli.cli.data:app", "Look at data sets, and plan their training."),
    "report": Command("lunet_cli.cli.report:report", "Write one page about a run."),
    "viz": Command("lunet_cli.cli.viz:app", "Look at trainings, cases, volumes and networks."),
    "models": Command(
        "lunet_cli.cli.models:app", "List trained networks that are ready, or add your own."
    ),
    "presets": Command("lunet_cli.cli.presets:app", "List the named networks, or show one."),
    "config": Command("lunet_cli.cli.config:app", "List, copy, check or show configurations."),
}
# Tracebacks of bugs stay plain, to be copied into a report.
app = new_app(
    "Compact 3D segmentation networks for medical images: train, measure and shrink them.",
    _COMMANDS,
    name="lunet",
    pretty_exceptions_enable=False,
)


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
    """Let threads that wait long for each other give up their core; called before torch is loaded.

    OpenMP's threads spin at the end of each parallel loop, and keep the core from the very thread
    that they wait for where other programs want it too. GNU's spin for 300,000 rounds; to sleep at
    once costs a training alone a third of its speed. 10,000 rounds cost it a twentieth
    (benchmarks/busy.py). The variable is read when the library is loaded.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")


def main() -> None:
    """Run the application; errors meant for people become a line, a hint and an exit code."""
    _let_idle_threads_sleep()
    try:
        prepare_streams()
        try:
            # Otherwise Typer prints errors in its own way and ends the process.
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
