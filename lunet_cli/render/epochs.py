"""The epochs of a training as rows of a table that fits a narrow terminal."""

from __future__ import annotations

from rich.text import Text

from lunet_cli.results.events import format_seconds
from lunet_cli.results.training import EpochDone, TrainingStarted
from lunet_cli.results.words import visible

_WIDTH = 80
_EPOCH, _NUMBER, _LEFT = 11, 8, 13  # columns, with the space before them
_LEAST_LABEL, _LONGEST_LABEL = 6, 14


def legend(started: TrainingStarted) -> list[str]:
    """Which loss is which: the two are not measured alike, so that one of them may lie below the other for good."""
    conditions = f", with {' and '.join(started.conditions)}" if started.conditions else ""
    weights = ", with the averaged weights (EMA)" if started.is_averaged else ""
    return [
        f"train loss: mean over the steps of the epoch{conditions}",
        f"val loss and Dice: over the validation cases{weights}; *: the best so far",
    ]


class EpochTable:
    """Rows of epochs: the losses, the mean Dice, and that of each label, or of the worst where there are too many.

    Args:
        labels: Names of the labels.
    """

    def __init__(self, labels: tuple[str, ...]) -> None:
        names = [visible(name) for name in labels]
        widths = [2 + min(_LONGEST_LABEL, max(_LEAST_LABEL, len(name))) for name in names]
        self._columns = dict(zip(labels, widths, strict=True)) if len(labels) > 1 else {}
        self._has_all = _EPOCH + 3 * _NUMBER + 1 + sum(self._columns.values()) + _LEFT <= _WIDTH
        cells = [f"{name[: width - 2]:>{width}}" for name, width in zip(names, widths, strict=True)]
        per_label = "".join(cells) if self._has_all else "  worst label"
        shown = per_label if self._columns else ""
        self._heading = f"{'epoch':>{_EPOCH}}{'train':>{_NUMBER}}{'val':>{_NUMBER}}{'mean':>{_NUMBER}} {shown}"

    @property
    def heading(self) -> list[str]:
        """What stands over the columns, in two lines."""
        above = f"{'':{_EPOCH}}{'loss':>{_NUMBER}}{'':{_NUMBER}}{'val Dice':>{_NUMBER + 1}}"
        return [above.rstrip(), f"{self._heading}  left" if self._has_all else self._heading]

    def row(self, event: EpochDone) -> Text:
        """One epoch."""
        record = event.record
        place = f"{record.epoch}/{event.num_epochs}"
        losses = f"{record.train_loss:>{_NUMBER}.4f}{record.val_loss:>{_NUMBER}.4f}"
        dice = f"{record.val_dice:>{_NUMBER}.4f}{'*' if event.is_best else ' '}"
        left = f"  {format_seconds(event.seconds_left)}"
        per_label = record.val_dice_per_label
        if not self._columns:
            shown = left
        elif self._has_all:
            shown = "".join(f"{per_label[name]:>{width}.4f}" for name, width in self._columns.items()) + left
        else:
            worst = min(per_label, key=per_label.__getitem__)
            shown = f"  {per_label[worst]:.4f} {visible(worst)}"[: _WIDTH - _EPOCH - 3 * _NUMBER - 1]
        return Text.assemble(f"{place:>{_EPOCH}}{losses}", (dice, "bold green" if event.is_best else "bold"), shown)
