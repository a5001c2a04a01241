"""What a training writes into its run folder, and what it tells its caller."""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from lunet_cli.config.network_cost import count_parameters
from lunet_cli.config.run import RunConfig
from lunet_cli.engine.checkpoints.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from lunet_cli.engine.provenance import git_commit, machine_name, versions
from lunet_cli.engine.run_folder import RunFolder
from lunet_cli.engine.run_lock import RunLock
from lunet_cli.engine.training.context import StepContext
from lunet_cli.engine.training.state import TrainState
from lunet_cli.errors import LunetError, OutputError
from lunet_cli.records.checkpoint import Modes
from lunet_cli.records.manifest import DataOrigin, Machine, Manifest, RecordedSplit
from lunet_cli.records.network_card import Execution, KeptConfig
from lunet_cli.records.training_summary import TrainingSummary
from lunet_cli.results.events import Event, WarningIssued
from lunet_cli.results.training import EpochDone, EpochRecord, StepDone, TrainResult


class RunRecorder:
    """The way out of a training: files for later, events for now.

    Args:
        folder: The run folder.
        lock: The right to write there.
        context: What is fixed.
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
        self._lock = lock
        self._context = context
        self._on_event = on_event

    @property
    def config(self) -> RunConfig:
        """The configuration of the run."""
        return self._context.setup.config

    def report(self, event: Event) -> None:
        """Log an event and tell it.

        Raises:
            OutputError: The folder is not ours any more, or the disk is full.
        """
        self._lock.require_kept()
        self.folder.log(event)
        self._on_event(event)

    def on_step(self, event: StepDone) -> None:
        """Tell a step; log it now and then."""
        if event.step % self.config.training.log_interval == 0:
            self.report(event)
        else:
            self._on_event(event)

    def warn(self, text: str) -> None:
        """Log a warning and tell it."""
        self.report(WarningIssued(text))

    @contextlib.contextmanager
    def logging_errors(self) -> Iterator[None]:
        """Within the block, an error that ends the training is logged."""
        try:
            yield
        except LunetError as error:
            if self._lock.is_kept:
                with contextlib.suppress(OutputError):  # What is wrong may be the disk.
                    self.folder.log(f"error: {error.message}")
            raise

    def write_origin(self, state: TrainState) -> None:
        """Write what a run folder has from the start on."""
        self.folder.remove_leftovers()
        self.folder.write_config(self.config)
        self.folder.write_manifest(self._manifest(state))
        self.folder.write_history(state.history)

    def save_last(self, state: TrainState) -> None:
        """Keep the newest state.

        Raises:
            OutputError: It cannot be written, or the folder is not ours any more.
        """
        self._lock.require_kept()
        weights = state.network.state_dict()
        save_checkpoint(self._checkpoint(state, weights, with_training=True), self.folder.last)

    def finish_epoch(
        self, state: TrainState, record: EpochRecord, *, seconds_left: float
    ) -> EpochDone:
        """Count an epoch as finished, and keep all that it has brought.

        Args:
            state: What changes.
            record: The line of this epoch.
            seconds_left: Estimated time of the epochs that are left.
        """
        self._lock.require_kept()
        if not self.folder.holds_history(state.history):
            self.warn(
                f"{self.folder.history}: was removed or changed while the training ran; "
                "it is written anew"
            )
        is_best = state.finish_epoch(record)
        # The newest state comes after the models: a run that is killed in between repeats the
        # epoch, and so makes the same models again.
        self._keep_models(state, record, is_best=is_best)
        self.save_last(state)
        self.folder.write_history(state.history)
        event = EpochDone(record, self.config.training.epochs, is_best, seconds_left)
        self.report(event)
        return event

    def keep_modes(self, modes: Modes | None) -> None:
        """Note in the best model how well it does in one pass.

        Raises:
            OutputError: It cannot be written, or the folder is not ours any more.
        """
        self._lock.require_kept()
        checkpoint = load_checkpoint(self.folder.best)
        if modes != checkpoint.modes:
            save_checkpoint(replace(checkpoint, modes=modes), self.folder.best)

    def write_end(self, result: TrainResult) -> None:
        """Keep the numbers of the end, which marks the training as finished."""
        self.folder.write_summary(
            TrainingSummary(
                outcome=result.outcome,
                architecture=result.architecture,
                num_parameters=result.num_parameters,
                num_epochs=len(result.history),
                best=result.best,
                metrics=result.metrics,
                latency_ms=result.latency_ms,
                one_pass_dice=result.one_pass_dice,
            )
        )

    def _keep_models(self, state: TrainState, record: EpochRecord, *, is_best: bool) -> None:
        kept = self.config.training.checkpoint
        if is_best and kept.keep_best:
            weights = state.validated_network.state_dict()
            save_checkpoint(self._checkpoint(state, weights, with_training=False), self.folder.best)
        if kept.save_every and record.epoch % kept.save_every == 0:
            weights = state.network.state_dict()
            path = self.folder.kept_checkpoint(record.epoch)
            save_checkpoint(self._checkpoint(state, weights, with_training=True), path)

    def _checkpoint(
        self, state: TrainState, weights: dict[str, Tensor], *, with_training: bool
    ) -> Checkpoint:
        training = None
        if with_training:
            training = state.to_dict()
        return checkpoint_of(self._context, weights, epoch=state.epoch, training=training)

    def _manifest(self, state: TrainState) -> Manifest:
        setup, config = self._context.setup, self.config
        root = None
        if config.data.root is not None:
            root = str(config.data.root)
        return Manifest(
            started=datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
            versions=versions(),
            machine=Machine(
                platform=machine_name(), cpus=os.cpu_count(), threads=torch.get_num_threads()
            ),
            seed=config.experiment.seed,
            git_commit=git_commit(),
            architecture=config.model.architecture,
            num_parameters=count_parameters(setup.card.network),
            **dict(setup.card.to_record()),
            execution=_execution(self._context),
            data=DataOrigin(layout=setup.layout, root=root, cache=setup.cache),
            split=RecordedSplit(
                origin=setup.split.origin,
                train=tuple(case.case_id for case in setup.split.train),
                val=tuple(case.case_id for case in setup.split.val),
                unlabelled=tuple(case.case_id for case in setup.unlabelled_cases),
            ),
            teacher=setup.recorded_teacher(),
        )


class SilentRecorder(RunRecorder):
    """That of a process which trains along while another one records.

    Args:
        folder: The run folder.
        context: What is fixed.
    """

    def __init__(self, folder: RunFolder, context: StepContext) -> None:
        super().__init__(folder, RunLock(folder.path, None), context, lambda _: None)

    def report(self, event: Event) -> None:
        """Keep silent."""

    @contextlib.contextmanager
    def logging_errors(self) -> Iterator[None]:
        """Leave errors to whoever starts the process."""
        yield

    def save_last(self, state: TrainState) -> None:
        """Leave it to the process that records."""

    def finish_epoch(
        self, state: TrainState, record: EpochRecord, *, seconds_left: float
    ) -> EpochDone:
        """Count an epoch as finished."""
        is_best = state.finish_epoch(record)
        return EpochDone(record, self.config.training.epochs, is_best, seconds_left)


def checkpoint_of(
    context: StepContext,
    weights: Mapping[str, Tensor],
    *,
    epoch: int,
    training: dict[str, Any] | None = None,
) -> Checkpoint:
    """A checkpoint of the network of a training.

    Args:
        context: What is fixed.
        weights: Those of the network.
        epoch: Epochs that they have seen.
        training: The state of the training; None in a model that is for use only.
    """
    return Checkpoint(
        card=context.setup.card,
        weights={name: tensor.detach().cpu() for name, tensor in weights.items()},
        epoch=epoch,
        config=KeptConfig.of(context.setup.config),
        versions=versions(),
        execution=_execution(context),
        training=training,
    )


def _execution(context: StepContext) -> Execution:
    return Execution.model_validate(context.plan.to_dict())
