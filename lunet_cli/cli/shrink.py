"""`lunet shrink`: the smallest network that is as good as a trained one."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lunet_cli.cli.config_file import Overrides, refuse_extras
from lunet_cli.cli.following import Following, print_next, program, tell_how_to_go_on
from lunet_cli.cli.options import option
from lunet_cli.cli.wording import call_also, show_progress
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
    call_also("experiment.name", "--name")
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
    command = [*program(), "shrink", str(run), "--margin", f"{options.margin:g}"]
    if options.name is not None:
        command += ["--name", options.name]
    command += [f"--set={setting}" for setting in overrides]
    saved = f"the state is saved in {result.pruning.run_dir}"
    tell_how_to_go_on(saved, [*command, "--resume", "auto"])


def _show(result: ShrinkResult, run: Path) -> None:
    """Print what came out, and what one may do next."""
    from lunet_cli.render.console import make_console
    from lunet_cli.render.shrink_tables import shrink_table

    make_console().print(shrink_table(result))
    print_next(_next_commands(result, run))


def _next_commands(result: ShrinkResult, run: Path) -> list[Following]:
    """Purpose and words of each."""
    lunet, small = program(), str(result.pruning.run_dir)
    steps: Following = ("Dice and channels over the steps", [*lunet, "prune", "show", small])
    if result.comparison is None or not result.comparison.is_smaller:
        wider = ["--name", f"{result.pruning.run_dir.name}_2", "--margin"]
        return [steps, ("allow more", [*lunet, "shrink", str(run), *wider, "DICE"])]
    return [
        steps,
        ("segment volumes with it", [*lunet, "predict", small, "FOLDER", "-o", "masks"]),
        ("measure it on other cases", [*lunet, "eval", small, "--data", "FOLDER"]),
        ("write it for other programs", [*lunet, "export", small, "--format", "onnx"]),
        ("train a network of its size from the beginning", [*lunet, "prune", "to-lean", small]),
    ]
