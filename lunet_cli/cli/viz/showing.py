"""What the views share: their options, the screen, the file, and the keys."""

from __future__ import annotations

import contextlib
import os
import re
import select
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lunet_cli.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import Console

    from lunet_cli.render.terminal.screen import Screen
    from lunet_cli.render.terminal.viewer import Viewer

Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", help="Write a picture (.png, .svg, .pdf), not to the terminal."),
]
NoColor = Annotated[bool, typer.Option("--no-color", help="Draw with characters alone.")]
Axis = Annotated[
    Literal["axial", "coronal", "sagittal", "0", "1", "2"],
    typer.Option(help="Which slices, by name or as the axis z, y or x that they lie across."),
]
Level = Annotated[float | None, typer.Option(help="Middle of the grey scale, in stored intensities; needs --width.")]
Width = Annotated[float | None, typer.Option(help="Range of the grey scale, in stored intensities; needs --level.")]
Interactive = Annotated[bool, typer.Option("--interactive", "-i", help="Leaf through with keys.")]
FORMATS = (".png", ".svg", ".pdf")
_MOMENT = 0.3  # seconds
_KEYS = re.compile(r"\x1b(?:\[[0-9;]*[A-Za-z~]|O[A-Z])|.", re.DOTALL)  # an arrow or the like, or one character


def axis_number(axis: str) -> int:
    """0, 1 or 2."""
    names = {"axial": 0, "coronal": 1, "sagittal": 2}
    return names[axis] if axis in names else int(axis)


def intensity_window(level: float | None, width: float | None) -> tuple[float, float] | None:
    """Intensities that become black and white; None where they are not given.

    Raises:
        ConfigError: Only one of the two is given, or there is nothing between them.
    """
    if level is None and width is None:
        return None
    if level is None or width is None:
        raise ConfigError("--level and --width: belong together", hint="For soft tissue in CT: --level 40 --width 400")
    if width <= 0:
        raise ConfigError(f"--width {width:g}: must be above 0")
    return level - width / 2, level + width / 2


def require_output(output: Path | None) -> None:
    """Raise if a picture could not be written there, before it is made.

    Raises:
        ConfigError: The name does not end with a format that can be written.
        OutputError: There is no such folder.
    """
    if output is None:
        return
    from lunet_cli.engine.files import require_place

    if output.suffix.lower() not in FORMATS:
        raise ConfigError(f"-o {output}: is no picture that can be written", hint=f"End it with {', '.join(FORMATS)}.")
    require_place(output)


def require_keys(output: Path | None) -> None:
    """Raise if there is no terminal to leaf in.

    Raises:
        ConfigError: There is none, or a file was asked for.
    """
    if output is not None:
        raise ConfigError("--interactive and -o: choose one")
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise ConfigError("--interactive: needs a terminal", hint="Leave it out, or write a picture: -o picture.png")


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
    from lunet_cli.engine.files import write_atomically
    from lunet_cli.render.figures.style import write_figure

    write_atomically(output, lambda file: write_figure(figure, file, output))
    typer.echo(output)


def leaf(viewer: Viewer, *, no_color: bool) -> None:
    """Draw, wait for keys, and so on, until one of them or Ctrl-C ends it."""
    from rich.live import Live

    from lunet_cli.render.terminal.screen import Screen

    console, screen = open_screen(no_color=no_color)
    with (
        contextlib.suppress(KeyboardInterrupt, EOFError),
        _listening() as next_keys,
        Live(viewer.draw(screen), console=console, screen=True, auto_refresh=False) as live,
    ):
        drawn: Screen | None = None
        while True:
            screen = Screen.of(console)
            if screen != drawn:
                live.update(viewer.draw(screen), refresh=True)
                drawn = screen
            if viewer.is_waiting:
                viewer.open()
                drawn = None
                continue
            # Of keys that were pressed meanwhile, only the last is drawn.
            pressed = next_keys()
            if not all(viewer.press(key) for key in pressed):
                return
            if pressed:
                drawn = None


@contextlib.contextmanager
def _listening() -> Iterator[Callable[[], list[str]]]:
    """Yield a function that waits for keys; none is shown, and none is lost while the picture is drawn.

    It gives up after a moment, so that a window of another size is noticed.
    """
    try:
        import termios
        import tty
    except ImportError:  # Windows
        yield lambda: [typer.getchar()]
        return
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)

    def wait() -> list[str]:
        if not select.select([keyboard], [], [], _MOMENT)[0]:
            return []
        pressed = os.read(keyboard, 256).decode(errors="ignore")
        if not pressed:
            raise EOFError
        return _KEYS.findall(pressed)

    try:
        tty.setcbreak(keyboard)
        yield wait
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)
