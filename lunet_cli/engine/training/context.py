"""What is fixed before the first step of a training."""

from __future__ import annotations

from dataclasses import dataclass

from lunet_cli.config.training import Scheduler, TrainingConfig
from lunet_cli.engine.data.labels import LabelScheme
from lunet_cli.engine.networks.execution import ExecutionPlan
from lunet_cli.engine.process_group import ALONE, ProcessGroup
from lunet_cli.engine.training.distillation import Teacher
from lunet_cli.engine.training.optimization import learning_rate_at
from lunet_cli.engine.training.setup import Setup


@dataclass(frozen=True)
class StepContext:
    """Everything that is fixed before the first step.

    Args:
        setup: Cases, network and loss, as configuration and data have it.
        plan: How to compute.
        teacher: What the network learns from beside the labels; None where these are all.
        phase: The epochs, counted from 0, that the schedule of the learning rate is stretched over;
            None for the whole training.
        rate_factor: What the learning rate of the configuration is multiplied by.
        scheduler: How it changes; None takes that of the configuration.
        group: The processes that train together.
    """

    setup: Setup
    plan: ExecutionPlan
    teacher: Teacher | None = None
    phase: range | None = None
    rate_factor: float = 1.0
    scheduler: Scheduler | None = None
    group: ProcessGroup = ALONE

    @property
    def config(self) -> TrainingConfig:
        """The section `training`."""
        return self.setup.config.training

    @property
    def learned_labels(self) -> LabelScheme:
        """The same for training patches, some of which may be unlabelled."""
        return self.setup.learned_labels

    @property
    def labels(self) -> LabelScheme:
        """The meaning of the channels."""
        return self.setup.card.labels

    def learning_rate(self, epoch: float) -> float:
        """That of a moment; fractions stand between two epochs."""
        moment = epoch
        if self.phase is not None:
            progress = (epoch - self.phase.start) / len(self.phase)
            moment = progress * self.config.epochs
        config = self.config
        if self.scheduler is not None:
            config = config.model_copy(update={"scheduler": self.scheduler})
        return self.rate_factor * learning_rate_at(config, moment)
