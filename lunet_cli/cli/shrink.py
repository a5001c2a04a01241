"""`lunet shrink`: the smallest network that is as good as a trained one."""

from __future__ import annotations

import shlex
import shutil
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lunet_cli.cli.config_file import Overrides, refuse_extras
from lunet_cli.cli.options import option
from lunet_cli.cli.wording import show_progress
from lunet_cli.config.options import ShrinkOptions

if TYPE_CHECKING:
    from lunet_cli.results.shrinking import ShrinkResult

_field = partial(option, ShrinkOptions)
_USUAL = ShrinkOptions()


def shrink(
    context: typer.Context,
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="Run folder of the trained network; it stays.")
    ],
    margin: Annotated[float, _field("margin", metavar="DICE")] = _USUAL.margin,
    name: Annotated[str | None, _field("name", metavar="NAME")] = None,
    overrides: Overrides = None,
    resume: Annotated[
        str | None,
        typer.Option(
            metavar="auto",
            help="Go on where the same command line was interrupted; begin otherwise.",
        ),
    ] = None,
) -> None:
    """Make a trained network smaller, as far as it stays as good.

    Channels are removed step by step and the rest is trained on, until a network would lose more
    Dice than --margin. What is made lies in a run folder beside RUN.
    """
    refuse_extras(context, run, section="pruning")
    options = ShrinkOptions(margin=margin, name=name)
    from lunet_cli.engine.pruning.shrink import shrink
    from lunet_cli.render.console import make_status_console

    with show_progress(make_status_console()) as on_event:
        result = shrink(run, options, overrides=overrides or (), resume=resume, on_event=on_event)
    if result.pruning.outcome == "interrupted":
        _tell_how_to_go_on(result, run, options, overrides or [])
        raise typer.Exit(128 + result.pruning.signal)
    _show(result, run)


def _tell_how_to_go_on(
    result: ShrinkResult, run: Path, options: ShrinkOptions, overrides: list[str]
) -> None:
    from lunet_cli.render.console import make_status_console

    command = [_program(), "shrink", str(run), "--margin", f"{options.margin:g}"]
    if options.name is not None:
        command += ["--name", options.name]
    command += [f"--set={setting}" for setting in overrides]
    console = make_status_console()
    console.print(f"Stopped; the state is saved in {result.pruning.run_dir}. Go on with:")
    console.print(f"  {shlex.join([*command, '--resume', 'auto'])}", soft_wrap=True)


def _show(result: ShrinkResult, run: Path) -> None:
    """Print what came out, and what one may do next."""
    from lunet_cli.render.console import make_console
    from lunet_cli.render.shrink_tables import shrink_table

    console = make_console()
    console.print(shrink_table(result))
    console.print()
    console.print("Next:")
    for purpose, following in _next_commands(result, run):
        # Whole lines, whatever the width: they are there to be copied.
        console.print(f"  # {purpose}")
        console.print(f"  {shlex.join(following)}", soft_wrap=True)


def _next_commands(result: ShrinkResult, run: Path) -> list[tuple[str, list[str]]]:
    """Purpose and words of each."""
    program, small = _program(), str(result.pruning.run_dir)
    commands = [("Dice and channels over the steps", [program, "prune", "show", small])]
    if result.comparison is None or not result.comparison.is_smaller:
        wider = ["--name", f"{result.pruning.run_dir.name}_2", "--margin"]
        return [*commands, ("allow more", [program, "shrink", str(run), *wider, "DICE"])]
    return [
        *commands,
        ("segment volumes with it", [program, "predict", small, "FOLDER", "-o", "masks"]),
        ("measure it on other cases", [program, "eval", small, "--data", "FOLDER"]),
        ("write it for other programs", [program, "export", small, "--format", "onnx"]),
        ("train a network of its size from the beginning", [program, "prune", "to-lean", small]),
    ]


def _program() -> str:
    """What a person types for this program."""
    if shutil.which("lunet"):
        return "lunet"
    return sys.argv[0]
