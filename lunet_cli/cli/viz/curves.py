"""`lunet viz curves`: how trainings went, or go."""

from __future__ import annotations

import time
from collections.abc import Sequence
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
)
from lunet_cli.cli.viz.interaction import interact
from lunet_cli.cli.wording import reworded
from lunet_cli.errors import ConfigError
from lunet_cli.results.words import format_seconds

if TYPE_CHECKING:
    from rich.console import RenderableType

    from lunet_cli.render.curves import CurveOptions
    from lunet_cli.render.terminal.screen import Screen

# Seconds between two looks: epochs of small trainings take about as long.
_INTERVAL = 2.0


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
    _check_watching(output, watch=watch, interval=interval)
    require_output(output, no_color=no_color)
    from lunet_cli.engine.viewing.histories import read_histories

    quantities = tuple(name for name in QUANTITIES if not show or name in show)
    options = CurveOptions(x_axis, smooth, log, quantities)
    if output is not None:
        from lunet_cli.render.figures.curves import curves_figure

        save(curves_figure(curve_panels(read_histories(runs), options)), output)
        return
    from lunet_cli.render.terminal.charts import best_lines, draw_panels

    console, screen = open_screen(no_color=no_color)
    if watch:
        followed = _FollowedTrainings(runs, options, interval or _INTERVAL)
        interact(followed, console)
        runs = followed.started
        if not runs:
            return
    histories = read_histories(runs)
    console.print(draw_panels(curve_panels(histories, options), screen), best_lines(histories))


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


def _check_watching(output: Path | None, *, watch: bool, interval: float | None) -> None:
    if interval is not None and not watch:
        raise ConfigError("--interval: goes with --watch")
    if not watch:
        return
    if output is not None:
        raise ConfigError("--watch and -o: choose one")
    require_terminal("--watch", "Elsewhere, follow the table: tail -f RUN/history.csv")


class _FollowedTrainings:
    """Trainings that are looked at anew after each interval, until all of them have ended.

    Args:
        runs: Their folders, some of which may not be there yet.
        options: How they are drawn.
        interval: Seconds between two looks.
    """

    def __init__(self, runs: Sequence[Path], options: CurveOptions, interval: float) -> None:
        self._runs, self._options, self._interval = runs, options, interval
        self.started: list[Path] = []
        self.is_over = False
        self._look()

    def draw(self, screen: Screen) -> RenderableType:
        """The trainings that have begun, and which are waited for."""
        from lunet_cli.render.curves import curve_panels
        from lunet_cli.render.terminal.charts import draw_followed

        panels = curve_panels(self._histories, self._options)
        return draw_followed(panels, self._histories, self._notes, screen)

    def advance(self) -> bool:
        """Look anew, if it is time; whether it was."""
        if time.monotonic() < self._next_look:
            return False
        self._look()
        return True

    def press(self, key: str) -> None:
        """End it by `q` or Escape."""
        if key in ("q", "escape"):
            self.is_over = True

    def _look(self) -> None:
        from lunet_cli.engine.viewing.histories import (
            read_histories,
            seconds_since_epoch,
            without_epochs,
        )

        # A run may begin between two looks, and its folder is made before its first epoch ends.
        waiting = without_epochs(self._runs)
        self.started = [run for run in self._runs if run not in waiting]
        self._histories = read_histories(self.started)
        self._notes = [f"waiting: {reworded(words)}" for words in waiting.values()]
        silences = []
        for run, history in zip(self.started, self._histories, strict=True):
            if not history.is_finished:
                silences.append(seconds_since_epoch(run))
        if silences:
            self._notes.append(f"last epoch {format_seconds(min(silences))} ago")
        self.is_over = not waiting and not silences
        self._next_look = time.monotonic() + self._interval
