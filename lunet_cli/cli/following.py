"""What a person may type next, in whole lines that are there to be copied."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

Following = tuple[str, Sequence[str]]
"""What a command is for, and its words."""


def program() -> list[str]:
    """The words that this program is called by."""
    if shutil.which("lunet"):
        return ["lunet"]
    called = Path(sys.argv[0])
    if called.name == "__main__.py":
        return ["python", "-m", called.parent.name]
    return [sys.argv[0]]


def launched_program() -> list[str]:
    """The words that started this process together with others on this machine, or alone."""
    size = os.environ.get("LOCAL_WORLD_SIZE", "1")
    if size == "1" or size != os.environ.get("WORLD_SIZE"):
        return program()
    return ["torchrun", "--nproc-per-node", size, "-m", "lunet_cli"]


def tell_how_to_go_on(saved: str, command: Iterable[str]) -> None:
    """Say what has been kept of a job that was stopped, and how it goes on."""
    from lunet_cli.render.console import make_status_console

    console = make_status_console()
    console.print(f"Stopped; {saved}. Go on with:")
    console.print(f"  {shlex.join(command)}", soft_wrap=True)


def print_next(commands: Iterable[Following]) -> None:
    """Print what one may do with a result."""
    from lunet_cli.render.console import make_console

    console = make_console()
    console.print()
    console.print("Next:")
    for purpose, words in commands:
        console.print(f"  # {purpose}")
        console.print(f"  {shlex.join(words)}", soft_wrap=True)
