"""Errors as words on the screen."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

import typer
from typer.exceptions import TyperException

from lunet_cli.cli.wording import reworded
from lunet_cli.errors import ConfigError, LunetError
from lunet_cli.results.words import visible

Item = TypeVar("Item")
# Typer lets pydantic read values, and gives its words for programmers.
_PLAIN = (
    (r"Value error, ", ""),
    (r"Input should be a valid integer, .*", "expected a whole number"),
    (r"Input should be a valid number, .*", "expected a number"),
    (r"Input should be greater than or equal to", "expected at least"),
    (r"Input should be less than or equal to", "expected at most"),
)


def print_error(error: LunetError) -> None:
    """One line on stderr for each mistake, and the hint, in the words of the command line."""
    # Before control characters are written out: what is made of a name is not to be read again.
    error = error.reworded(reworded)
    who = _who()
    for line in error.lines:
        print(visible(f"{who}error: {line}"), file=sys.stderr)
    if error.hint:
        print(visible(f"{who}hint:  {error.hint}"), file=sys.stderr)


def _who() -> str:
    """Which of several processes that a launcher has started speaks; the first needs no name."""
    rank = os.environ.get("RANK", "0")
    if os.environ.get("WORLD_SIZE", "1") == "1" or not rank.isdigit() or rank == "0":
        return ""
    return f"process {rank}: "


def usage_error(error: TyperException) -> ConfigError:
    """What is wrong with a command line, as one of our errors."""
    message = " ".join(error.format_message().split())
    for theirs, ours in _PLAIN:
        message = re.sub(theirs, ours, message)
    context: typer.Context | None = getattr(error, "ctx", None)
    hint = ""
    if context is not None:
        hint = f"All options: {context.command_path} --help"
    return ConfigError(f"{message[:1].lower()}{message[1:].removesuffix('.')}", hint)


def try_each(items: Sequence[Item], act: Callable[[Item], object]) -> bool:
    """Do something with each; what is wrong with one is printed, and the others are gone on with.

    Returns:
        Whether all went well.

    Raises:
        LunetError: What is wrong with the only one.
    """
    went_well = True
    for item in items:
        try:
            act(item)
        except LunetError as error:
            if len(items) == 1:
                raise
            print_error(error)
            went_well = False
    return went_well
