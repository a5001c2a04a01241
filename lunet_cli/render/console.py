"""The two consoles: results to stdout, everything else to stderr."""

from __future__ import annotations

import sys

from rich.console import Console

PIPE_WIDTH = 120


def make_console(*, no_color: bool = False) -> Console:
    """For results. Written to a file or pipe, lines are not folded at an assumed terminal width."""
    width = None if sys.stdout.isatty() else PIPE_WIDTH
    return Console(width=width, highlight=False, no_color=True if no_color else None)


def make_status_console() -> Console:
    """For progress and notices."""
    return Console(stderr=True, highlight=False)
