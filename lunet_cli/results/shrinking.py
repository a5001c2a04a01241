"""What making a trained network smaller returns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lunet_cli.results.evaluation import NonInferiority
from lunet_cli.results.pruning import PruneResult


@dataclass(frozen=True)
class PassTime:
    """How long a network takes for a batch of windows.

    Args:
        milliseconds: The median of its passes.
        how: Runtime, precision and device, as a prediction takes them.
    """

    milliseconds: float
    how: str


@dataclass(frozen=True)
class NetworkCost:
    """What a network takes, and what it gives.

    Args:
        path: Its file.
        parameters: Its parameters.
        flops: FLOPs of its convolutions for 64 x 64 x 64 voxels.
        num_channels: Channels of all layers together.
        size_bytes: Size of its file.
        dice: Mean Dice over the validation cases.
        pass_time: How long it takes; None where that could not be measured, or the networks are
            the same.
    """

    path: Path
    parameters: int
    flops: int
    num_channels: int
    size_bytes: int
    dice: float
    pass_time: PassTime | None


@dataclass(frozen=True)
class ShrinkComparison:
    """A network beside the smaller one that was made of it.

    Args:
        before: The network of the run.
        after: The smallest network that is as good, but for the margin.
        difference: Dice of `after` minus that of `before`, case by case.
        nearest: Of the steps that lose too much, the difference that comes nearest to the margin;
            None where there is no such step.
        batch: Shape (batch, C, D, H, W) that both were timed on: windows as a prediction takes
            them.
    """

    before: NetworkCost
    after: NetworkCost
    difference: NonInferiority
    nearest: NonInferiority | None
    batch: tuple[int, ...]

    @property
    def is_smaller(self) -> bool:
        """Whether anything could be removed within the margin."""
        return self.after.parameters < self.before.parameters


@dataclass(frozen=True)
class ShrinkResult:
    """What making a network smaller ended with.

    Args:
        pruning: Its steps, the chosen one, and the run folder of the small network.
        comparison: Before and after; None where it was interrupted (its state is saved).
    """

    pruning: PruneResult
    comparison: ShrinkComparison | None
