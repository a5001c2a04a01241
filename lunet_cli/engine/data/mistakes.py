"""What is wrong with single cases, gathered so that all of it is told at once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from lunet_cli.errors import DataError, LunetError

_MOST_ALIKE = 10  # As many as show what they have in common; the others are counted.
_MOST_LINES = 40  # As many as a screen has.
_MOST_HINTS = 3


class Mistakes:
    """Gathers errors about cases."""

    def __init__(self) -> None:
        self._found: list[LunetError] = []

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._found)

    @property
    def found(self) -> tuple[LunetError, ...]:
        """All of them."""
        return tuple(self._found)

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
            DataError: With a line for each case, those together that are mended in one way, and
                how. Of many alike some are told and the others counted, so that they do not hide
                another kind.
        """
        if not self._found:
            return
        kinds: dict[str, list[str]] = {}
        for error in self._found:
            kinds.setdefault(error.hint, []).extend(error.lines)
        lines: list[str] = []
        # Those of one kind stand together, whatever order the cases have.
        for messages in kinds.values():
            lines += sorted(messages)[:_MOST_ALIKE]
            if len(messages) > _MOST_ALIKE:
                lines.append(f"and {len(messages) - _MOST_ALIKE} more like these")
        if len(lines) > _MOST_LINES:
            lines[_MOST_LINES:] = [f"and more; {len(self._found)} mistakes in all"]
        hints = [hint for hint in kinds if hint]
        raise DataError(lines, hint=" ".join(hints[:_MOST_HINTS]))
