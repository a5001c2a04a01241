"""What the choice of a runtime reports."""

from __future__ import annotations

from dataclasses import dataclass

from lunet_cli.results.events import Event


@dataclass(frozen=True)
class RuntimeTrial:
    """One runtime and precision, tried on a window.

    Args:
        name: Runtime, precision and device in words.
        difference: Largest difference of a probability from plain fp32; None if it did not run.
        verdict: `taken`, or why it was not.
    """

    name: str
    difference: float | None
    verdict: str


@dataclass(frozen=True)
class RuntimeChosen(Event):
    """How the network is computed, and what else was tried."""

    name: str
    reason: str
    trials: tuple[RuntimeTrial, ...]

    def __str__(self) -> str:
        return f"computing with {self.name}: {self.reason}"
