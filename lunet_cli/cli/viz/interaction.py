"""Views that fill the terminal, change by themselves and by keys, and give it back at the end."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol

from lunet_cli.cli.viz.keys import listening
from lunet_cli.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from lunet_cli.render.terminal.screen import Screen

    Draw = Callable[[Screen], RenderableType]


class View(Protocol):
    """What fills the screen."""

    is_over: bool
    """Whether it has ended, by itself or by a key."""

    def draw(self, screen: Screen) -> RenderableType:
        """What is to be seen now."""

    def advance(self) -> bool:
        """Do what is due; whether there is something else to be seen since."""

    def press(self, key: str) -> None:
        """Do what a key asks for: a character, or a name such as `left`."""


def interact(view: View, console: Console) -> None:
    """Draw, do what is due, wait for keys, and so on, until the view or Ctrl-C ends it."""
    with contextlib.suppress(EOFError), listening() as next_keys, _whole_screen(console) as show:
        drawn: tuple[int, int] | None = None
        while not view.is_over:
            size = console.size
            if size != drawn:
                show(view.draw)
                drawn = size
            if view.advance():
                drawn = None
                continue
            # Of keys that were pressed meanwhile, only what the last has changed is drawn.
            for key in next_keys():
                view.press(key)
                drawn = None


@contextlib.contextmanager
def _whole_screen(console: Console) -> Iterator[Callable[[Draw], None]]:
    """Yield a function that fills the terminal, which is given back as it was, also to Ctrl-C."""
    from rich.live import Live

    from lunet_cli.render.terminal.screen import Screen

    def show(draw: Draw) -> None:
        try:
            live.update(draw(Screen.of(console)), refresh=True)
        except ConfigError as error:
            # The window was made too small, and may be enlarged again.
            live.update(error.message, refresh=True)

    # Without this, a process that is stopped leaves a terminal without cursor and without lines.
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        with (
            contextlib.suppress(KeyboardInterrupt),
            Live(console=console, screen=True, auto_refresh=False) as live,
        ):
            yield show
    finally:
        signal.signal(signal.SIGTERM, before)
