"""Everything that changes while a network is pruned."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from lunet_cli.config.pruning import PruningConfig, phase_of
from lunet_cli.engine.training.start import PRUNING
from lunet_cli.engine.training.state import TrainState
from lunet_cli.records.pruning import PruningState
from lunet_cli.records.record import compact_json
from lunet_cli.results.pruning import PruningStep


@dataclass(kw_only=True)
class Progress:
    """How far a pruning is.

    Args:
        train: The network and how it learns; its epochs are those of all steps together.
        steps: The steps that have ended; the first is the network before any channel is removed.
        current: The step whose network recovers; None in the warm-up, and between two steps.
    """

    train: TrainState
    steps: list[PruningStep] = field(default_factory=list)
    current: PruningStep | None = None

    @property
    def is_recovering(self) -> bool:
        """Whether there are epochs to train before the next step: the warm-up is such a time."""
        return self.current is not None or not self.steps

    def phase(self, config: PruningConfig) -> range:
        """The epochs, counted from 0, of the warm-up or of the recovery of this step."""
        return phase_of(len(self.steps), config)

    def max_steps(self, config: PruningConfig) -> int | None:
        """Training steps of an epoch at most: those of a recovery may be limited."""
        if self.current is None:
            return None
        return config.recovery_batches

    def to_dict(self) -> dict[str, Any]:
        """The state of the training with that of the pruning, for a checkpoint."""
        state = PruningState(steps=tuple(self.steps), current=self.current)
        return {**self.train.to_dict(), PRUNING: compact_json(state)}
