"""What a pruning reports and returns."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lunet_cli.results.events import Event
from lunet_cli.results.numbers import Undefinable
from lunet_cli.results.words import format_seconds, plural

Outcome = Literal["finished", "stopped early", "interrupted"]


@dataclass(frozen=True)
class RemovedChannel:
    """A channel that a step has removed.

    Args:
        layer: Name of its layer.
        channel: Its index in the layer before the step.
        score: What was measured of it; NaN where the choice asks for no score.
    """

    layer: str
    channel: int
    score: Undefinable


@dataclass(frozen=True)
class ChannelsRemoved(Event):
    """A step has removed channels, and the network has not recovered yet.

    Args:
        step: The step, from 1.
        num_steps: Steps that the pruning takes at most.
        removed: The channels.
        widths: Channels of each layer now.
        parameters: Parameters of the network now.
        val_dice: Mean Dice over the validation cases now.
    """

    step: int
    num_steps: int
    removed: tuple[RemovedChannel, ...]
    widths: dict[str, int]
    parameters: int
    val_dice: float

    def __str__(self) -> str:
        layers = []
        for layer in dict.fromkeys(channel.layer for channel in self.removed):
            told = _channels_of(layer, self.removed)
            layers.append(f"{told} ({self.widths[layer]} left)")
        return (
            f"step {self.step}/{self.num_steps} removed {', '.join(layers)}: "
            f"{plural(self.parameters, 'parameter')}, val Dice {self.val_dice:.4f}"
        )


def _channels_of(layer: str, removed: Iterable[RemovedChannel]) -> str:
    """The channels of a layer in words: `channels 3, 7 of encoders.0.1`."""
    indices = [str(channel.channel) for channel in removed if channel.layer == layer]
    noun = "channel"
    if len(indices) > 1:
        noun = "channels"
    return f"{noun} {', '.join(indices)} of {layer}"


@dataclass(frozen=True)
class PruningStep:
    """One line of a pruning: step 0 is the network before it.

    Args:
        step: The step.
        removed: The channels that it has removed; none in step 0.
        parameters: Parameters of the network.
        flops: FLOPs of its convolutions for 64 x 64 x 64 voxels.
        val_loss_before: Validation loss between removal and recovery.
        val_dice_before: Mean Dice over the validation cases between removal and recovery.
        val_loss: Validation loss after recovery.
        val_dice: Mean Dice over the validation cases after recovery.
        seconds: Time of the step.
        dice_per_case: Mean Dice over labels of each validation case after recovery.
        widths: Channels of each layer.
    """

    step: int
    removed: tuple[RemovedChannel, ...]
    parameters: int
    flops: int
    val_loss_before: Undefinable
    val_dice_before: Undefinable
    val_loss: Undefinable
    val_dice: Undefinable
    seconds: float
    dice_per_case: dict[str, float]
    widths: dict[str, int]


@dataclass(frozen=True)
class PruningStepDone(Event):
    """A step of a pruning was validated and saved.

    Args:
        record: Its line.
        num_steps: Steps that the pruning takes at most.
        is_chosen: Whether its network is the smallest so far that is as good as the reference.
        seconds_left: Estimated time of the steps that are left.
    """

    record: PruningStep
    num_steps: int
    is_chosen: bool
    seconds_left: float

    def __str__(self) -> str:
        r = self.record
        told = (
            f"step {r.step}/{self.num_steps} {plural(r.parameters, 'parameter')} "
            f"val loss {r.val_loss:.4f} val Dice {r.val_dice:.4f}"
        )
        if r.removed:
            told += f" ({r.val_dice_before:.4f} before recovery)"
        told += f" {r.seconds:.1f} s, {format_seconds(self.seconds_left)} left"
        if self.is_chosen:
            told += " *chosen"
        return told


@dataclass(frozen=True)
class PruneResult:
    """What a pruning ended with.

    Args:
        outcome: `finished`, `stopped early`, or `interrupted` (its state is saved).
        reason: Why it ended, in words.
        architecture: The network before the first step.
        num_parameters: Its parameters.
        steps: One record per step, step 0 included.
        chosen: The smallest network that is as good as the reference of the pruning; None before
            step 0 has ended.
        seconds: Time of the whole pruning.
        signal: Number of the signal that interrupted; 0 otherwise.
    """

    run_dir: Path
    outcome: Outcome
    reason: str
    architecture: str
    num_parameters: int
    steps: tuple[PruningStep, ...]
    chosen: PruningStep | None
    seconds: float
    signal: int = 0


@dataclass(frozen=True)
class PrunableLayer:
    """A layer of a network that may be pruned.

    Args:
        name: Its name.
        level: Its resolution, 0 is the full one.
        width: Its channels.
        is_protected: Whether it keeps all of them.
    """

    name: str
    level: int
    width: int
    is_protected: bool

    @property
    def num_removable(self) -> int:
        """Channels that can be removed: one is always left."""
        if self.is_protected:
            return 0
        return self.width - 1


@dataclass(frozen=True)
class PruningForecast:
    """What a pruning could remove.

    Args:
        architecture: The network before the first step.
        layers: Its layers.
        parameters: Its parameters.
        least_parameters: Parameters of the network that has lost all that can be removed.
        num_wanted: Channels that all steps would remove together.
    """

    architecture: str
    layers: tuple[PrunableLayer, ...]
    parameters: int
    least_parameters: int
    num_wanted: int
