"""What every job reports while it runs; `str(event)` is its plain line in logs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Event:
    """Something that happened while a job ran."""


@dataclass(frozen=True)
class Notice(Event):
    """A decision or a finding worth reading."""

    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class WarningIssued(Event):
    """Something that did not work and does not stop the job."""

    text: str

    def __str__(self) -> str:
        return f"warning: {self.text}"


def warnings_to(on_event: Callable[[Event], None]) -> Callable[[str], None]:
    """What takes a text and reports it as a `WarningIssued`."""
    return lambda text: on_event(WarningIssued(text))


@dataclass(frozen=True)
class CaseRead(Event):
    """A case was read and checked."""

    num_done: int
    num_cases: int

    def __str__(self) -> str:
        return f"read {self.num_done} of {self.num_cases} cases"


@dataclass(frozen=True)
class CaseFailed(Event):
    """A case could not be used; the others go on.

    Args:
        case: Its name or path.
        message: What was wrong and where.
        hint: What to do about it; may be empty.
    """

    case: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        if not self.hint:
            return f"error: {self.message}"
        return f"error: {self.message} ({self.hint})"
