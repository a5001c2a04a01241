"""What the views share: their options, the screen and the file."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lunet_cli.errors import ConfigError
from lunet_cli.results.words import visible

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import Console

    from lunet_cli.render.terminal.screen import Screen

Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="Write a picture (.png, .svg, .pdf), not to the terminal.",
    ),
]
NoColor = Annotated[bool, typer.Option("--no-color", help="Draw with characters alone.")]
Axis = Literal["axial", "coronal", "sagittal", "0", "1", "2"]
Level = Annotated[
    float | None,
    typer.Option(
        metavar="VALUE", help="Middle of the grey scale, in stored intensities; needs --width."
    ),
]
Width = Annotated[
    float | None,
    typer.Option(
        metavar="VALUE", help="Range of the grey scale, in stored intensities; needs --level."
    ),
]
Interactive = Annotated[bool, typer.Option("--interactive", "-i", help="Leaf through with keys.")]
# What journals take: pixels, and two kinds of lines.
FORMATS = (".png", ".svg", ".pdf")


def axis_number(axis: Axis) -> int:
    """0, 1 or 2."""
    from lunet_cli.results.views import AXES

    if axis in AXES:
        return AXES.index(axis)
    return int(axis)


def intensity_window(level: float | None, width: float | None) -> tuple[float, float] | None:
    """Intensities that become black and white; None where they are not given.

    Raises:
        ConfigError: Only one of the two is given, or there is nothing between them.
    """
    if level is None and width is None:
        return None
    if level is None or width is None:
        raise ConfigError(
            "--level and --width: belong together",
            hint="For soft tissue in CT: --level 40 --width 400",
        )
    if not (math.isfinite(level) and math.isfinite(width) and width > 0):
        raise ConfigError(
            f"--level {level:g} --width {width:g}: need a number, and a width above 0"
        )
    return level - width / 2, level + width / 2


def require_output(output: Path | None, *, no_color: bool) -> None:
    """Raise if a picture could not be written there, before it is made.

    Raises:
        ConfigError: The name does not end with a format that can be written, or colours were
            refused.
        OutputError: There is no such folder.
    """
    if output is None:
        return
    from lunet_cli.records.files import require_place

    if output.suffix.lower() not in FORMATS:
        raise ConfigError(
            f"-o {output}: is not a picture that can be written",
            hint=f"End it with {', '.join(FORMATS)}.",
        )
    if no_color:
        raise ConfigError("--no-color and -o: choose one")
    require_place(output)


def open_drawing(output: Path | None, *, no_color: bool) -> tuple[Console, Screen] | None:
    """The console and the screen to draw on; None where a file is written instead.

    Raises:
        ConfigError: The terminal is too small.
    """
    if output is not None:
        return None
    return open_screen(no_color=no_color)


def require_keys(output: Path | None) -> None:
    """Raise if there is no terminal to leaf in.

    Raises:
        ConfigError: There is none, or a file was asked for.
    """
    if output is not None:
        raise ConfigError("--interactive and -o: choose one")
    require_terminal("--interactive", "Leave it out, or write a picture: -o picture.png")


def require_terminal(option: str, hint: str) -> None:
    """Raise if there is no terminal whose whole screen can be drawn on.

    Raises:
        ConfigError: There is none.
    """
    from lunet_cli.render.console import make_console

    if not (sys.stdin.isatty() and sys.stdout.isatty()) or make_console().is_dumb_terminal:
        raise ConfigError(f"{option}: needs a terminal", hint=hint)


def open_screen(*, no_color: bool) -> tuple[Console, Screen]:
    """The console for results, and what it can show.

    Raises:
        ConfigError: The terminal is too small.
    """
    from lunet_cli.render.console import make_console
    from lunet_cli.render.terminal.screen import Screen

    console = make_console(no_color=no_color)
    return console, Screen.of(console)


def save(figure: Figure, output: Path) -> None:
    """Write a picture, whole or not at all, and say where."""
    from lunet_cli.records.files import write_atomically
    from lunet_cli.render.figures.style import write_figure

    write_atomically(output, lambda file: write_figure(figure, file, output))
    typer.echo(visible(output))
