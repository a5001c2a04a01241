"""The epochs of a training as rows of a table that fits a narrow terminal."""

from __future__ import annotations

from rich.text import Text

from lunet_cli.results.training import EpochDone, TrainingStarted
from lunet_cli.results.words import format_seconds, visible

_WIDTH = 80
# Columns, with the space before them: a loss of four decimals, and `12 h 34 min`.
_NUMBER, _LEFT = 8, 13
_LEAST_LABEL, _LONGEST_LABEL = 6, 12


def legend(started: TrainingStarted) -> list[str]:
    """Which loss is which.

    The two are not measured alike, so that one of them may lie below the other for good.
    """
    conditions = weights = ""
    if started.conditions:
        conditions = f", with {' and '.join(started.conditions)}"
    if started.is_averaged:
        weights = ", with the averaged weights (EMA)"
    return [
        f"train loss: mean over the steps of the epoch{conditions}",
        f"val loss and Dice: over the validation cases{weights}; *: the best so far",
    ]


class EpochTable:
    """Rows of epochs: the losses, the mean Dice, and that of each label.

    Where there are too many labels for a line, the worst of them is told.

    Args:
        first: The first of them.
    """

    def __init__(self, first: EpochDone) -> None:
        labels = first.record.val_dice_per_label
        self._epoch = max(len("epoch"), 2 * len(str(first.num_epochs)) + 1)
        self._room = _WIDTH - self._epoch - 3 * _NUMBER - 1 - _LEFT
        # The Dice of a single label is the mean, which has its column already.
        self._labels: dict[str, int] = {}
        if len(labels) > 1:
            self._labels = {name: _width_of(name) for name in labels}
        self._has_all = sum(self._labels.values()) <= self._room

    @property
    def heading(self) -> list[str]:
        """What stands over the columns, in two lines."""
        shown = ""
        if not self._has_all:
            shown = "  worst label"
        else:
            for name, width in self._labels.items():
                shown += f"{visible(name)[: width - 2]:>{width}}"
        empty = " " * self._epoch
        above = f"{empty}{'loss':>{_NUMBER}}{'':{_NUMBER}}{'val Dice':>{_NUMBER + 1}}"
        numbers = f"{'train':>{_NUMBER}}{'val':>{_NUMBER}}{'mean':>{_NUMBER}} "
        return [above, f"{'epoch':>{self._epoch}}{numbers}{'left':>{_LEFT}}{shown}"]

    def row(self, event: EpochDone) -> Text:
        """One epoch."""
        record = event.record
        place = f"{record.epoch}/{event.num_epochs}"
        left = f"{format_seconds(event.seconds_left):>{_LEFT}}"
        losses = f"{record.train_loss:>{_NUMBER}.4f}"
        if not record.is_validated:
            empty = " " * (2 * _NUMBER + 1)
            return Text(f"{place:>{self._epoch}}{losses}{empty}{left}")
        losses += f"{record.val_loss:>{_NUMBER}.4f}"
        dice, style = f"{record.val_dice:>{_NUMBER}.4f} ", "bold"
        if event.is_best:
            dice, style = f"{record.val_dice:>{_NUMBER}.4f}*", "bold green"
        rest = left + self._per_label(record.val_dice_per_label)
        return Text.assemble(f"{place:>{self._epoch}}{losses}", (dice, style), rest)

    def _per_label(self, dice: dict[str, float]) -> str:
        if not self._labels:
            return ""
        if self._has_all:
            return "".join(f"{dice[name]:>{width}.4f}" for name, width in self._labels.items())
        worst = min(dice, key=dice.__getitem__)
        return f"  {dice[worst]:.4f} {visible(worst)}"[: self._room]


def _width_of(label: str) -> int:
    """Columns of a label, with the two spaces before it."""
    return 2 + min(_LONGEST_LABEL, max(_LEAST_LABEL, len(visible(label))))
