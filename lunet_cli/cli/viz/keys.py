"""Keys of a terminal, one by one, in whatever pieces they arrive; on Windows too."""

from __future__ import annotations

import codecs
import contextlib
import os
import re
import select
import sys
import time
from collections.abc import Callable, Iterator

import typer

# Seconds after which a window of another size is noticed, and after which a view may change.
_MOMENT = 0.3
# Seconds in which the rest of an arrow follows its Escape, also over a slow line.
_ESCAPE_DELAY = 0.1
# An arrow or the like, a key together with Alt, or one character.
_KEY = re.compile(r"\x1b(?:\[[0-9;]*[A-Za-z~]|O[A-Z])|\x1b[^\x1b\[O]|[^\x1b]", re.DOTALL)
_BEGUN = re.compile(r"\x1b(?:\[[0-9;]*|O)?")
# As xterm sends them, in its usual and its application mode, and as the C library of Windows does.
_NAMES = {
    "\x1b": "escape",
    "\x1b[D": "left",
    "\x1bOD": "left",
    "\xe0K": "left",
    "\x1b[C": "right",
    "\x1bOC": "right",
    "\xe0M": "right",
    "\x1b[A": "up",
    "\x1bOA": "up",
    "\xe0H": "up",
    "\x1b[B": "down",
    "\x1bOB": "down",
    "\xe0P": "down",
    "\x1b[5~": "page up",
    "\xe0I": "page up",
    "\x1b[6~": "page down",
    "\xe0Q": "page down",
}


class KeySplitter:
    """Divides what a terminal sends into keys; what has only begun waits for its rest."""

    def __init__(self) -> None:
        self._rest = ""

    @property
    def has_begun(self) -> bool:
        """Whether there is the beginning of a key."""
        return bool(self._rest)

    def feed(self, text: str) -> list[str]:
        """The keys that `text` completes: characters, or names such as `left`."""
        text, keys, place = self._rest + text, [], 0
        while place < len(text) and not _BEGUN.fullmatch(text, place):
            found = _KEY.match(text, place)
            # Of two Escapes, the first is a key of its own.
            pressed = "\x1b"
            if found:
                pressed = found[0]
            keys.append(_NAMES.get(pressed, pressed))
            place += len(pressed)
        self._rest = text[place:]
        return keys

    def flush(self) -> list[str]:
        """What is left when nothing follows: Escape, or half an arrow, which means nothing."""
        rest, self._rest = self._rest, ""
        if rest == "\x1b":
            return [_NAMES[rest]]
        return []


@contextlib.contextmanager
def listening() -> Iterator[Callable[[], list[str]]]:
    """Yield a function that waits for keys; none is shown, and none is lost in the meantime.

    It returns without a key after a moment. When the other end is closed, it raises EOFError.
    """
    if sys.platform == "win32":
        yield _wait_on_windows
        return
    import termios
    import tty

    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    splitter, decoder = KeySplitter(), codecs.getincrementaldecoder("utf-8")("ignore")

    def wait() -> list[str]:
        seconds = _MOMENT
        if splitter.has_begun:
            seconds = _ESCAPE_DELAY
        ready, _, _ = select.select([keyboard], [], [], seconds)
        if not ready:
            return splitter.flush()
        pressed = os.read(keyboard, 1024)
        if not pressed:
            raise EOFError
        return splitter.feed(decoder.decode(pressed))

    try:
        tty.setcbreak(keyboard)
        yield wait
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)


def _wait_on_windows() -> list[str]:
    if sys.platform == "win32":
        import msvcrt

        # Consoles of Windows cannot be selected on: they are asked again and again.
        end = time.monotonic() + _MOMENT
        while not msvcrt.kbhit():
            if time.monotonic() > end:
                return []
            time.sleep(0.02)
    pressed = typer.getchar()
    return [_NAMES.get(pressed, pressed)]
