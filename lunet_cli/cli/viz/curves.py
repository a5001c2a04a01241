"""`lunet viz curves`: how trainings went, or go."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lunet_cli.cli.viz.display import (
    NoColor,
    Output,
    open_screen,
    require_output,
    require_terminal,
    save,
    whole_screen,
)
from lunet_cli.errors import ConfigError
from lunet_cli.results.words import format_seconds

if TYPE_CHECKING:
    from rich.console import Console

    from lunet_cli.render.curves import CurveOptions


def curves(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN", help="Run folders; several are overlaid.")
    ],
    x_axis: Annotated[
        Literal["epoch", "seconds"], typer.Option("--x", help="What they are drawn against.")
    ] = "epoch",
    show: Annotated[
        list[str] | None,
        typer.Option(metavar="loss|dice|lr", help="Only this; repeatable. All if not given."),
    ] = None,
    smooth: Annotated[
        float,
        typer.Option(
            metavar="SHARE",
            min=0,
            max=0.999,
            help="Weight of the past in a moving average, such as 0.9.",
        ),
    ] = 0.0,
    log: Annotated[
        bool, typer.Option("--log", help="A logarithmic axis for losses and learning rates.")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Follow trainings that run, until they end.")
    ] = False,
    interval: Annotated[
        float | None,
        typer.Option(
            metavar="S", min=0.2, help="Seconds between looks, with --watch; 2 if not given."
        ),
    ] = None,
    output: Output = None,
    no_color: NoColor = False,
) -> None:
    """Draw loss, validation Dice and learning rate of trainings."""
    from lunet_cli.render.curves import QUANTITIES, CurveOptions, curve_panels

    _check_quantities(show or [], smooth=smooth, log=log)
    if interval is not None and not watch:
        raise ConfigError("--interval: goes with --watch")
    if watch and output is not None:
        raise ConfigError("--watch and -o: choose one")
    if watch:
        require_terminal("--watch", "Elsewhere, follow the table: tail -f RUN/history.csv")
    require_output(output, no_color=no_color)
    from lunet_cli.engine.viewing.histories import read_histories

    options = CurveOptions(
        x_axis, smooth, log, tuple(name for name in QUANTITIES if name in (show or QUANTITIES))
    )
    if output is not None:
        from lunet_cli.render.figures.curves import curves_figure

        save(curves_figure(curve_panels(read_histories(runs), options)), output)
        return
    from lunet_cli.render.terminal.charts import best_lines, draw_panels

    console, screen = open_screen(no_color=no_color)
    if watch:
        runs = _follow(runs, options, interval or 2.0, console)
        if not runs:
            return
    courses = read_histories(runs)
    console.print(draw_panels(curve_panels(courses, options), screen), best_lines(courses))


def _check_quantities(show: list[str], *, smooth: float, log: bool) -> None:
    from lunet_cli.render.curves import QUANTITIES

    for name in show:
        if name not in QUANTITIES:
            raise ConfigError(
                f"--show {name}: is none of its values", hint=f"Known: {', '.join(QUANTITIES)}"
            )
    if log and set(show) == {"dice"}:
        raise ConfigError(
            "--log: is for losses and learning rates", hint="Leave it out, or add --show loss."
        )
    if smooth and set(show) == {"lr"}:
        raise ConfigError(
            "--smooth: is for losses and Dice", hint="Leave it out, or add --show loss."
        )


def _follow(
    runs: Sequence[Path], options: CurveOptions, interval: float, console: Console
) -> list[Path]:
    """Draw anew with each epoch, until all trainings have ended, or q or Ctrl-C is pressed.

    Returns:
        The runs that have begun.
    """
    from lunet_cli.cli.viz.keys import listening
    from lunet_cli.engine.viewing.histories import (
        read_histories,
        seconds_since_epoch,
        without_epochs,
    )
    from lunet_cli.render.curves import curve_panels
    from lunet_cli.render.terminal.charts import draw_followed

    started: list[Path] = []
    with listening() as next_keys, whole_screen(console) as show:
        while True:
            waiting = without_epochs(runs)
            started = [run for run in runs if run not in waiting]
            courses = read_histories(started)
            if not waiting and all(course.is_finished for course in courses):
                break
            notes = [f"waiting: {words}" for words in waiting.values()]
            going_on = [
                run for run, course in zip(started, courses, strict=True) if not course.is_finished
            ]
            notes += (
                [f"last epoch {format_seconds(min(map(seconds_since_epoch, going_on)))} ago"]
                if going_on
                else []
            )
            show(partial(draw_followed, curve_panels(courses, options), courses, notes))
            again = time.monotonic() + interval
            while time.monotonic() < again:
                if {"q", "\x1b"} & set(next_keys()):
                    return started
    return started
