"""Which step of a pruning has the best network, and which the smallest that is as good."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lunet_cli.engine.evaluation.non_inferiority import non_inferiority
from lunet_cli.results.pruning import PruningStep


def best_step(steps: Sequence[PruningStep]) -> PruningStep | None:
    """The step with the highest mean Dice, of equal ones the last; None where no step has one."""
    best: PruningStep | None = None
    for step in steps:
        if math.isnan(step.val_dice):
            continue
        if best is None or step.val_dice >= best.val_dice:
            best = step
    return best


def chosen_step(steps: Sequence[PruningStep], margin: float) -> PruningStep | None:
    """The smallest network of a pruning that is as good as its best.

    Args:
        steps: Steps from 0 on; each has fewer channels than the one before.
        margin: Dice that may be lost.

    Returns:
        The last step that is not inferior to the best one by more than `margin`; that one itself if
        there is no other, None where no step has a Dice.
    """
    best = best_step(steps)
    if best is None:
        return None
    # From the end, since the first that is found is the one; before the best step, none is smaller.
    for step in reversed(steps[steps.index(best) + 1 :]):
        if non_inferiority(step.dice_per_case, best.dice_per_case, margin=margin).is_shown:
            return step
    return best
