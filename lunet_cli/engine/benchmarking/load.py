"""How busy the machine is with other things, which no number of passes can average away."""

from __future__ import annotations

import psutil

# Long enough that a count of CPU time in steps of 10 ms is right to a few percent.
_SECONDS = 0.3


def busy_cores() -> float:
    """CPU cores that are at work while this process waits a moment."""
    shares: list[float] = psutil.cpu_percent(_SECONDS, percpu=True)
    return sum(shares) / 100
