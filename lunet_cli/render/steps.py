"""The steps of a pruning as rows of a table that fits a narrow terminal."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

from rich.text import Text

from lunet_cli.results.pruning import PruningStepDone, RemovedChannel
from lunet_cli.results.words import format_seconds, visible

# Columns, with the space before them: a Dice of four decimals, and `12 h 34 min`.
_DICE, _LEFT = 8, 13
_LAYER = 22  # such as `2 of decoders.0.1, ...`


class StepTable:
    """Rows of steps: what was removed, what is left, and Dice before and after recovery.

    Args:
        first: The first of them, which has the most channels and parameters.
    """

    def __init__(self, first: PruningStepDone) -> None:
        self._step = max(len("step"), 2 * len(str(first.num_steps)) + 1)
        self._channels = len("  channels")
        self._parameters = max(len("  parameters"), 2 + len(f"{first.record.parameters:,}"))

    @property
    def heading(self) -> list[str]:
        """What stands over the columns, and what they mean."""
        return [
            "before, after: val Dice around the recovery; *: the chosen step so far",
            f"{'step':>{self._step}}  {'removed':{_LAYER}}{'channels':>{self._channels}}"
            f"{'parameters':>{self._parameters}}{'before':>{_DICE}}{'after':>{_DICE}} "
            f"{'left':>{_LEFT}}",
        ]

    def row(self, event: PruningStepDone) -> Text:
        """One step."""
        record = event.record
        place = f"{record.step}/{event.num_steps}"
        channels = sum(record.widths.values())
        before = ""
        if not math.isnan(record.val_dice_before):
            before = f"{record.val_dice_before:.4f}"
        cost = (
            f"{place:>{self._step}}  {_removed(record.removed):{_LAYER}}"
            f"{channels:>{self._channels},}{record.parameters:>{self._parameters},}"
        )
        dice, style = f"{record.val_dice:>{_DICE}.4f} ", "bold"
        if event.is_chosen:
            dice, style = f"{record.val_dice:>{_DICE}.4f}*", "bold green"
        left = f"{format_seconds(event.seconds_left):>{_LEFT}}"
        return Text.assemble(f"{cost}{before:>{_DICE}}", (dice, style), left)


def _removed(channels: Iterable[RemovedChannel]) -> str:
    """How many channels of which layers are gone, as far as there is room."""
    words = []
    for layer, number in Counter(channel.layer for channel in channels).items():
        words.append(f"{number} of {visible(layer)}")
    told = ", ".join(words)
    if len(told) >= _LAYER:
        told = f"{told[: _LAYER - 4]}..."
    return told
