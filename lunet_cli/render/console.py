"""The two consoles: results to stdout, all else to stderr; neither obeys names of strangers."""

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
    """A console that draws what we build; control characters and markup become characters.

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
            if segment.control:
                yield segment
            else:
                yield Segment(visible_lines(segment.text), segment.style)


def make_console(*, no_color: bool = False) -> Console:
    """For results. Written to a file or pipe, lines are not folded at an assumed terminal width."""
    width: int | None = PIPE_WIDTH
    if sys.stdout.isatty():
        width = None
    if no_color:
        return PlainConsole(width=width, no_color=True)
    # Without an answer of ours, rich looks for NO_COLOR in the environment.
    return PlainConsole(width=width)


def make_status_console() -> Console:
    """For progress and notices."""
    return PlainConsole(stderr=True)
