"""Which step of a pruning has the best network, and which the smallest that is as good."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lunet_cli.config.pruning import Reference
from lunet_cli.engine.evaluation.non_inferiority import non_inferiority
from lunet_cli.results.pruning import PruningStep

# Of means over cases and labels in another order.
_ROUNDING = 1e-9


def best_step(steps: Sequence[PruningStep]) -> PruningStep | None:
    """The step with the highest mean Dice, of equal ones the last; None where no step has one."""
    best: PruningStep | None = None
    for step in steps:
        if math.isnan(step.val_dice):
            continue
        if best is None or step.val_dice >= best.val_dice:
            best = step
    return best


def reference_step(steps: Sequence[PruningStep], reference: Reference) -> PruningStep | None:
    """The step that others are compared with; None where it has no Dice.

    `unpruned` is known before anything is looked at, and is what the user had: the network has to
    be trained. `best` is for networks that get better while they recover, where step 0 would be an
    easy rival; as the highest of many values it lies a little above what that network is worth.

    Args:
        steps: Steps from 0 on.
        reference: As the section `pruning` has it.
    """
    if reference == "best":
        return best_step(steps)
    return best_step(steps[:1])


def chosen_step(
    steps: Sequence[PruningStep], margin: float, reference: Reference
) -> PruningStep | None:
    """The smallest network of a pruning that is as good as another of its networks.

    Args:
        steps: Steps from 0 on; each has fewer channels than the one before.
        margin: Dice that may be lost.
        reference: What the Dice is compared with.

    Returns:
        The last step that is not inferior to the reference by more than `margin`; that one itself
        if there is no other, None where it has no Dice.
    """
    compared = reference_step(steps, reference)
    if compared is None:
        return None
    # From the end, since the first that is found is the one; before the reference, none is smaller.
    for step in reversed(steps[steps.index(compared) + 1 :]):
        # The interval reaches below the mean. A thousand steps that are worse are asked after each
        # step, and resampling takes 20 ms.
        if step.val_dice - compared.val_dice < -margin - _ROUNDING:
            continue
        if non_inferiority(step.dice_per_case, compared.dice_per_case, margin=margin).is_shown:
            return step
    return compared
