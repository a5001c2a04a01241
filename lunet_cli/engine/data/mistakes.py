"""What is wrong with single cases, gathered so that all of it is told at once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from lunet_cli.errors import DataError, LunetError

_MOST_LINES = 20  # As many as a person reads at once; the others are counted.
_MOST_HINTS = 3


class Mistakes:
    """Gathers errors about cases."""

    def __init__(self) -> None:
        self._found: list[LunetError] = []

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._found)

    def add(self, error: LunetError) -> None:
        """Note one."""
        self._found.append(error)

    @contextlib.contextmanager
    def gathering(self) -> Iterator[None]:
        """Note the error that ends the block, and go on behind it."""
        try:
            yield
        except LunetError as error:
            self.add(error)

    def require_none(self) -> None:
        """Raise if there are any.

        Raises:
            DataError: With a line for each of the first, the number of the others, and the hints that they have.
        """
        if not self._found:
            return
        lines = [error.message for error in self._found[:_MOST_LINES]]
        if len(self._found) > _MOST_LINES:
            lines.append(f"and {len(self._found) - _MOST_LINES} more of {len(self._found)} mistakes in the data")
        hints = list(dict.fromkeys(error.hint for error in self._found if error.hint))
        raise DataError("\n".join(lines), hint=" ".join(hints[:_MOST_HINTS]))
