"""What a pruning writes into its run folder, and what it tells its caller."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lunet_cli.config.load import dump_yaml
from lunet_cli.config.pruning import PruningConfig
from lunet_cli.config.run import RunConfig
from lunet_cli.engine.checkpoints.checkpoint import save_checkpoint
from lunet_cli.engine.networks.blocks import SegmentationNetwork
from lunet_cli.engine.pruning.progress import Progress
from lunet_cli.engine.run_folder import RunFolder
from lunet_cli.engine.run_lock import RunLock
from lunet_cli.engine.training.context import StepContext
from lunet_cli.engine.training.recorder import RunRecorder, checkpoint_of
from lunet_cli.results.events import Event
from lunet_cli.results.pruning import PruningStep, PruningStepDone


class PruningRecorder:
    """The way out of a pruning: files for later, events for now.

    Args:
        folder: The run folder.
        lock: The right to write there.
        context: What is fixed before the first step.
        on_event: Called with what happens.
    """

    def __init__(
        self,
        folder: RunFolder,
        lock: RunLock,
        context: StepContext,
        on_event: Callable[[Event], None],
    ) -> None:
        self.folder = folder
        self.run = RunRecorder(folder, lock, context, on_event)
        self._lock = lock

    @property
    def config(self) -> RunConfig:
        """The configuration of the run."""
        return self.run.config

    def save(self, progress: Progress, context: StepContext) -> None:
        """Keep the newest state.

        Raises:
            OutputError: It cannot be written, or the folder is not ours any more.
        """
        self._lock.require_kept()
        state = progress.train
        checkpoint = checkpoint_of(
            context, state.network.state_dict(), epoch=state.epoch, training=progress.to_dict()
        )
        save_checkpoint(checkpoint, self.folder.last)
        self.folder.write_history(state.history)

    def finish_step(
        self, progress: Progress, context: StepContext, *, is_chosen: bool, seconds_left: float
    ) -> None:
        """Keep all that the last step has brought.

        Args:
            progress: How far the pruning is.
            context: What is fixed in this step.
            is_chosen: Whether its network is the smallest so far that is as good as the reference.
            seconds_left: Estimated time of the steps that are left.
        """
        self._lock.require_kept()
        record, network = progress.steps[-1], progress.train.validated_network
        epoch = progress.train.epoch
        # The state comes after the models: a run that is killed in between repeats the step, and
        # so makes the same models again.
        if is_chosen:
            self._save_model(network, epoch, context, self.folder.best)
            self._write_pruned_config(record)
        if _is_kept(record, self.config):
            path = self.folder.kept_step(record.step)
            self._save_model(network, epoch, context, path)
        self.save(progress, context)
        self.folder.write_pruning(progress.steps)
        num_steps = self.config.pruning.steps
        self.run.report(PruningStepDone(record, num_steps, is_chosen, seconds_left))

    def _save_model(
        self, network: SegmentationNetwork, epoch: int, context: StepContext, path: Path
    ) -> None:
        checkpoint = checkpoint_of(context, network.state_dict(), epoch=epoch)
        save_checkpoint(checkpoint, path)

    def _write_pruned_config(self, record: PruningStep) -> None:
        """Write the configuration that trains the chosen network from the beginning."""
        config = self.config
        experiment = config.experiment
        changed = config.model_copy(
            update={
                "experiment": experiment.model_copy(update={"name": f"{experiment.name}_fresh"}),
                "model": config.model.model_copy(update={"widths": tuple(record.widths.values())}),
                "pruning": PruningConfig(),
            }
        )
        self.folder.write_text(self.folder.pruned_config.name, dump_yaml(changed))


def _is_kept(record: PruningStep, config: RunConfig) -> bool:
    """Whether the network of a step is kept for good; step 0 is what all others are compared with.

    It is also the teacher of a pruning that is resumed.
    """
    every = config.pruning.save_every
    return record.step == 0 or (every > 0 and record.step % every == 0)
