"""Which of several networks no other one beats at a lower cost (Pareto)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal


def on_front(
    values: Sequence[float],
    costs: Sequence[float | None],
    better: Literal["higher", "lower", "zero"],
) -> list[bool]:
    """Whether no other one is at least as good at no more cost, and better in one of the two.

    Args:
        values: What each reaches; NaN is on no front.
        costs: What each takes; None, for an unknown cost, is on no front and beats none.
        better: Which values are good.
    """
    sign = 1.0 if better == "higher" else -1.0
    quality = [sign * (abs(value) if better == "zero" else value) for value in values]

    def is_beaten(index: int) -> bool:
        cost = costs[index]
        return any(
            other is not None
            and cost is not None
            and quality[i] >= quality[index]
            and other <= cost
            and (quality[i], -other) != (quality[index], -cost)
            for i, other in enumerate(costs)
        )

    return [
        costs[index] is not None and not math.isnan(values[index]) and not is_beaten(index)
        for index in range(len(values))
    ]
