"""How long a training will still take, by what this process has seen of it."""

from __future__ import annotations

import statistics

_NUM_RECENT = 10


class Pace:
    """Learns how long an epoch takes.

    Epochs of earlier sessions do not count, since another machine or another load may have run
    them.

    Args:
        num_steps: Steps of an epoch.
    """

    def __init__(self, num_steps: int) -> None:
        self._num_steps = num_steps
        self._seconds: list[float] = []

    def note(self, seconds: float, num_steps: int) -> None:
        """Learn from an epoch.

        Args:
            seconds: What it took in this session.
            num_steps: Steps that ran in this session; fewer than all where an interrupted epoch
                went on.
        """
        share = 1.0  # Interrupted in its validation, which says nothing about the steps.
        if num_steps > 0:
            # Validation counts as if it were shorter in proportion: for one epoch, near enough.
            share = num_steps / self._num_steps
        self._seconds.append(seconds / share)

    def seconds_left(self, num_epochs: int) -> float:
        """Estimate for so many epochs, from the mean of the recent ones."""
        return num_epochs * statistics.fmean(self._seconds[-_NUM_RECENT:])
