"""Keys of a terminal, one by one, in whatever pieces they arrive."""

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

_MOMENT = 0.3  # seconds, after which a window of another size is noticed
_ESCAPE_DELAY = (
    0.1  # seconds in which the rest of an arrow follows its Escape, also over a slow line
)
# An arrow or the like, a key together with Alt, or one character.
_KEY = re.compile(r"\x1b(?:\[[0-9;]*[A-Za-z~]|O[A-Z])|\x1b[^\x1b\[O]|[^\x1b]", re.DOTALL)
_BEGUN = re.compile(r"\x1b(?:\[[0-9;]*|O)?")


class KeySplitter:
    """Divides what a terminal sends into keys; what has only begun waits for its rest."""

    def __init__(self) -> None:
        self._rest = ""

    @property
    def has_begun(self) -> bool:
        """Whether there is the beginning of a key."""
        return bool(self._rest)

    def feed(self, text: str) -> list[str]:
        """The keys that `text` completes."""
        text, keys, place = self._rest + text, [], 0
        while place < len(text) and not _BEGUN.fullmatch(text, place):
            found = _KEY.match(text, place)
            keys.append(found[0] if found else "\x1b")
            place += len(keys[-1])
        self._rest = text[place:]
        return keys

    def flush(self) -> list[str]:
        """What is left when nothing follows: the key Escape, or half an arrow, which means nothing."""
        keys = ["\x1b"] if self._rest == "\x1b" else []
        self._rest = ""
        return keys


@contextlib.contextmanager
def listening() -> Iterator[Callable[[], list[str]]]:
    """Yield a function that waits for keys; none is shown, and none is lost while a picture is drawn.

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
        if not select.select([keyboard], [], [], _ESCAPE_DELAY if splitter.has_begun else _MOMENT)[
            0
        ]:
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

        end = time.monotonic() + _MOMENT
        while not msvcrt.kbhit():
            if time.monotonic() > end:
                return []
            time.sleep(0.02)
    return [typer.getchar()]
