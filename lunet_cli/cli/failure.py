"""Errors as words on the screen."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

from lunet_cli.errors import LunetError

Item = TypeVar("Item")


def print_error(error: LunetError) -> None:
    """One line on stderr, and the hint."""
    for line in error.message.splitlines():
        print(f"error: {line}", file=sys.stderr)
    if error.hint:
        print(f"hint:  {error.hint}", file=sys.stderr)


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
