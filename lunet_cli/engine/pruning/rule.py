"""Which network of a pruning is chosen: by validation cases alone."""

from __future__ import annotations

from collections.abc import Sequence

from lunet_cli.engine.evaluation.non_inferiority import non_inferiority
from lunet_cli.results.pruning import PruningStep


def is_as_good(steps: Sequence[PruningStep], *, margin: float) -> bool:
    """Whether the last step is as good as the best one so far, but for a margin.

    It is where the 95 % confidence interval of its mean difference in Dice, case by case, does not
    reach below `-margin`. The best step is that of the highest mean Dice.

    Args:
        steps: All steps up to this one, at least one.
        margin: How much Dice may be lost.
    """
    last, best = steps[-1], best_step(steps)
    if best is last:
        return True
    return non_inferiority(last.dice_per_case, best.dice_per_case, margin=margin).is_shown


def best_step(steps: Sequence[PruningStep]) -> PruningStep:
    """The first of the steps with the highest mean Dice; there is at least one step."""
    return max(steps, key=_mean_dice)


def chosen_step(steps: Sequence[PruningStep], *, margin: float) -> PruningStep | None:
    """The smallest network that was as good as the best one when it was made; None without steps.

    Each step is smaller than the one before. A later one that is better than all is chosen itself,
    so that looking back from the end changes nothing.
    """
    for number in range(len(steps), 0, -1):
        if is_as_good(steps[:number], margin=margin):
            return steps[number - 1]
    return None


def num_inferior(steps: Sequence[PruningStep], *, margin: float) -> int:
    """How many steps at the end are not as good as the best one."""
    chosen = chosen_step(steps, margin=margin)
    if chosen is None:
        return 0
    return steps[-1].step - chosen.step


def _mean_dice(step: PruningStep) -> float:
    return sum(step.dice_per_case.values()) / len(step.dice_per_case)
