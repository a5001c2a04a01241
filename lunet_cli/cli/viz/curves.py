"""`lunet viz curves`: how trainings went, or go."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lunet_cli.cli.viz.showing import NoColor, Output, open_screen, require_output, save
from lunet_cli.errors import ConfigError, DataError

if TYPE_CHECKING:
    from rich.console import Console

    from lunet_cli.render.curves import CurveOptions


def curves(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders; several are overlaid.")],
    x_axis: Annotated[Literal["epoch", "seconds"], typer.Option("--x", help="What they are drawn against.")] = "epoch",
    show: Annotated[
        list[str] | None, typer.Option(metavar="loss|dice|lr", help="Only this; repeatable. All if not given.")
    ] = None,
    smooth: Annotated[
        float, typer.Option(min=0, max=0.999, help="Weight of the past in a moving average, such as 0.9.")
    ] = 0.0,
    log: Annotated[bool, typer.Option("--log", help="A logarithmic axis for losses.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Follow trainings that run, until they end.")] = False,
    interval: Annotated[float, typer.Option(min=0.2, help="Seconds between looks, with --watch.")] = 2.0,
    output: Output = None,
    no_color: NoColor = False,
) -> None:
    """Draw loss, validation Dice and learning rate of trainings."""
    from lunet_cli.render.curves import QUANTITIES, CurveOptions, curve_panels

    for name in show or ():
        if name not in QUANTITIES:
            raise ConfigError(f"--show {name}: is none of its values", hint=f"Known: {', '.join(QUANTITIES)}")
    if watch and output is not None:
        raise ConfigError("--watch and -o: choose one")
    require_output(output)
    from lunet_cli.engine.viewing.courses import read_courses

    options = CurveOptions(x_axis, smooth, log, tuple(name for name in QUANTITIES if name in (show or QUANTITIES)))
    if output is not None:
        from lunet_cli.render.figures.curves import curves_figure

        save(curves_figure(curve_panels(read_courses(runs), options)), output)
        return
    from lunet_cli.render.terminal.charts import best_lines, draw_panels

    console, screen = open_screen(no_color=no_color)
    if watch:
        _follow(runs, options, interval, console)
    courses = read_courses(runs)
    console.print(draw_panels(curve_panels(courses, options), screen), best_lines(courses))


def _follow(runs: Sequence[Path], options: CurveOptions, interval: float, console: Console) -> None:
    """Draw anew with each epoch, until all trainings have ended or Ctrl-C is pressed."""
    from rich.live import Live
    from rich.text import Text

    from lunet_cli.engine.viewing.courses import read_courses
    from lunet_cli.render.curves import curve_panels
    from lunet_cli.render.terminal.charts import draw_followed
    from lunet_cli.render.terminal.screen import Screen

    if not console.is_terminal:
        raise ConfigError("--watch: needs a terminal", hint="Elsewhere, follow the table: tail -f RUN/history.csv")
    for run in runs:
        if not run.is_dir():
            raise DataError(f"{run}: there is no such folder", hint="The run folder is made when the training starts.")
    with contextlib.suppress(KeyboardInterrupt), Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            try:
                courses = read_courses(runs)
                if all(course.is_finished for course in courses):
                    return
                picture = draw_followed(curve_panels(courses, options), courses, Screen.of(console))
                live.update(picture, refresh=True)
            except DataError as error:  # There is no epoch yet.
                live.update(Text(f"waiting: {error.message}; Ctrl-C ends"), refresh=True)
            time.sleep(interval)
