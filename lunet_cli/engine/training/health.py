"""What is wrong with a training that goes on, and what to do about it, each said once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from lunet_cli.config.training import TrainingConfig
from lunet_cli.engine.training.loop import Validation
from lunet_cli.results.training import EpochRecord
from lunet_cli.results.words import plural

# A Dice below it is that of a few voxels that happen to overlap.
_NOTHING = 0.01
# Averaged weights usually score higher than the plain ones, and a few hundredths lower while they
# follow.
_FAR_BEHIND = 0.1
# Whatever the length of the run, this many epochs without any overlap are worth a word.
_FEWEST_EPOCHS, _MOST_EPOCHS = 5, 20
# Before it, the average is still mostly what the first steps made of it.
_FIRST_COMPARISON = 4
# A training loss that has lost less than this share of itself does not fall.
_FALL = 0.05


class Health:
    """Looks at each validation.

    Args:
        config: The section `training`.
        num_steps: Steps of an epoch.
    """

    def __init__(self, config: TrainingConfig, num_steps: int) -> None:
        self._config = config
        self._num_steps = num_steps
        self._told: set[str] = set()
        self._was_behind = False

    def warnings(
        self, history: Sequence[EpochRecord], validate_plain: Callable[[], Validation] | None
    ) -> Iterator[str]:
        """What is wrong as of the newest epoch, each thing once.

        Args:
            history: All validated epochs so far, at least one.
            validate_plain: Validates the weights themselves, where it was their average that was
                validated. It costs a validation and is called after few of them: 4, 8, 16 ..., the
                last, and when nothing is found.
        """
        record = history[-1]
        if not math.isfinite(record.val_loss):
            yield from self._once("loss", _not_finite(record))
            return
        # The average is why nothing else can be said.
        if "average" in self._told:
            return
        finds_nothing = self._finds_nothing(history)
        if validate_plain is not None and (finds_nothing or self._is_time_to_compare(history)):
            plain = validate_plain()
            if self._is_left_behind(record, plain):
                yield from self._once("average", self._behind(record, plain))
                return
        if finds_nothing:
            yield from self._once("nothing", self._nothing(history))

    def _once(self, kind: str, text: str) -> Iterator[str]:
        if kind not in self._told:
            self._told.add(kind)
            yield text

    def _finds_nothing(self, history: Sequence[EpochRecord]) -> bool:
        if "nothing" in self._told or any(record.val_dice >= _NOTHING for record in history):
            return False
        patience = min(max(_FEWEST_EPOCHS, self._config.epochs // 10), _MOST_EPOCHS)
        return history[-1].epoch >= min(patience, self._config.epochs)

    def _is_left_behind(self, record: EpochRecord, plain: Validation) -> bool:
        """Whether the average stays far behind; after a leap of the weights it may for once."""
        is_behind = plain.mean_dice - record.val_dice > _FAR_BEHIND
        stays = (
            self._was_behind or record.val_dice < _NOTHING or record.epoch == self._config.epochs
        )
        self._was_behind = is_behind
        return is_behind and stays

    def _is_time_to_compare(self, history: Sequence[EpochRecord]) -> bool:
        number = len(history)
        is_power_of_two = number & (number - 1) == 0
        is_last = history[-1].epoch == self._config.epochs
        return is_last or (number >= _FIRST_COMPARISON and is_power_of_two)

    def _behind(self, record: EpochRecord, plain: Validation) -> str:
        return (
            f"the averaged weights are far behind the plain ones: in epoch {record.epoch} their "
            f"validation Dice is {record.val_dice:.4f}, and {plain.mean_dice:.4f} without the "
            f"average. Lower training.ema_decay ({self._config.ema_decay:g}), set it to null, or "
            "train for more steps"
        )

    def _nothing(self, history: Sequence[EpochRecord]) -> str:
        first, last = history[0].train_loss, history[-1].train_loss
        num_epochs = history[-1].epoch
        epochs, steps = plural(num_epochs, "epoch"), plural(num_epochs * self._num_steps, "step")
        found = f"validation Dice has not left 0 in {epochs} ({steps})"
        # One epoch does not say where the loss goes.
        if len(history) == 1:
            return f"{found}: more epochs may be all it needs (training.epochs)"
        if last < (1 - _FALL) * first:
            return (
                f"{found}. The training loss falls, from {first:.4f} to {last:.4f}: more steps may "
                "be all it needs (training.epochs, training.patches_per_case, or a smaller "
                "training.batch_size)"
            )
        return (
            f"{found}, and the training loss does not fall ({first:.4f}, now {last:.4f}): change "
            f"training.learning_rate ({self._config.learning_rate:g}) or training.loss.name, and "
            "look whether the labels lie on their images"
        )


def _not_finite(record: EpochRecord) -> str:
    return (
        f"the validation loss of epoch {record.epoch} is {record.val_loss}; such an epoch is never "
        "the best. If it stays so, lower training.learning_rate, or set "
        "`training.gradient_clip=1` or `training.precision=fp32`"
    )
