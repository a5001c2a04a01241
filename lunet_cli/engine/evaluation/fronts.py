"""Which of several networks no other one beats at a lower cost (Pareto)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np


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
    quality = np.array(values, dtype=float)
    if better == "zero":
        quality = np.abs(quality)
    if better != "higher":
        quality = -quality
    cost = np.array(costs, dtype=float)  # None becomes NaN, which no comparison holds for.
    front: list[bool] = []
    for own_quality, own_cost in zip(quality, cost, strict=True):
        is_as_good = (quality >= own_quality) & (cost <= own_cost)
        is_better = (quality > own_quality) | (cost < own_cost)
        is_known = not (np.isnan(own_quality) or np.isnan(own_cost))
        front.append(bool(is_known and not (is_as_good & is_better).any()))
    return front
