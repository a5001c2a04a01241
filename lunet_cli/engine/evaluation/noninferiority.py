"""Whether a smaller network is as good as a larger one: a paired comparison with a margin."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from lunet_cli.engine.evaluation.summary import bootstrap_interval
from lunet_cli.results.pruning import PruningStep
from lunet_cli.results.views import DiceChange


def dice_change(dice: Mapping[str, float], reference: Mapping[str, float]) -> DiceChange:
    """How the Dice of the same cases differs between two networks.

    Args:
        dice: Dice of each case.
        reference: The same of the other network.

    Returns:
        The mean over cases of `dice` minus `reference`, and its 95 % confidence interval, which is
        NaN for fewer than two cases.
    """
    differences = np.array([value - reference[case] for case, value in dice.items()])
    return DiceChange(float(differences.mean()), bootstrap_interval(differences))


def is_noninferior(change: DiceChange, margin: float) -> bool:
    """Whether a network is at most `margin` worse, as far as its cases can tell.

    That is so where the whole interval lies above minus `margin`; from a single case, which has no
    interval, nothing can be told.

    References:
        Piaggio et al., Reporting of noninferiority and equivalence randomized trials, JAMA 308:2594
        (2012), figure 1.
    """
    return change.interval[0] >= -margin


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
        if is_noninferior(dice_change(step.dice_per_case, best.dice_per_case), margin):
            return step
    return best
