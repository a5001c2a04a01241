"""What the choice of a runtime reports."""

from __future__ import annotations

from dataclasses import dataclass

from lunet_cli.results.events import Event


@dataclass(frozen=True)
class RuntimeTrial:
    """One runtime and precision, tried on a window.

    Args:
        name: Runtime, precision and device in words.
        pass_ms: Median time of a forward pass; None if it did not run.
        difference: Largest difference of a probability from plain fp32; None if it did not run.
        verdict: `fastest`, or why it was not taken.
    """

    name: str
    pass_ms: float | None
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
