"""The two consoles: results to stdout, everything else to stderr; neither obeys what strangers wrote into names."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from lunet_cli.results.words import visible, visible_lines

PIPE_WIDTH = 120


class PlainConsole(Console):
    """A console that draws what we build, and writes control characters and markup in it as characters.

    A plain string, also in a table, is one line; only a `Text` of ours may have several.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, **settings)

    def render_str(self, text: str, **settings: Any) -> Text:
        """A string as a text of one line."""
        return super().render_str(visible(text), **settings)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """The segments of anything; those of ours that control the terminal stay as they are."""
        for segment in super().render(renderable, options):
            yield (
                segment if segment.control else Segment(visible_lines(segment.text), segment.style)
            )


def make_console(*, no_color: bool = False) -> Console:
    """For results. Written to a file or pipe, lines are not folded at an assumed terminal width."""
    width = None if sys.stdout.isatty() else PIPE_WIDTH
    return PlainConsole(width=width, no_color=True if no_color else None)


def make_status_console() -> Console:
    """For progress and notices."""
    return PlainConsole(stderr=True)
