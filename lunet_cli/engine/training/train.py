"""The job `train`: from a configuration to a finished run folder."""

from __future__ import annotations

import contextlib
import copy
import datetime
import math
import os
import time
from collections.abc import Callable
from typing import Literal

import torch

from lunet_cli.config.run import RunConfig
from lunet_cli.engine.checkpoints.authors import load_authors_weights
from lunet_cli.engine.checkpoints.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from lunet_cli.engine.checkpoints.tensors import require_fitting
from lunet_cli.engine.checkpoints.training_state import require_fitting_optimizer
from lunet_cli.engine.networks import build_network, count_parameters
from lunet_cli.engine.networks.blocks import SegmentationNetwork
from lunet_cli.engine.networks.execution import ExecutionPlan, resolve_device
from lunet_cli.engine.provenance import git_commit, machine_name, versions
from lunet_cli.engine.run_folder import BEST, RunFolder
from lunet_cli.engine.run_lock import RunLock, hold_run
from lunet_cli.engine.training.assessment import assess, write_summary
from lunet_cli.engine.training.health import Health
from lunet_cli.engine.training.interrupts import InterruptGuard, InterruptRequested, unwinding
from lunet_cli.engine.training.loop import StepContext, Validation, train_epoch, validate
from lunet_cli.engine.training.pace import Pace
from lunet_cli.engine.training.setup import Setup, set_up
from lunet_cli.engine.training.start import (
    Start,
    changed_settings,
    find_resume_source,
    read_model,
    read_start,
    require_one_process,
    require_same_card,
    require_same_sides,
    require_work_left,
)
from lunet_cli.engine.training.state import DIVERGED, TrainState
from lunet_cli.engine.training.tracking import WandbMirror
from lunet_cli.engine.training.verification import choose_plan
from lunet_cli.errors import CheckpointError, LunetError, OutputError, TrainingError
from lunet_cli.records.manifest import DataOrigin, Machine, Manifest, RecordedSplit
from lunet_cli.records.network_card import Execution, KeptConfig
from lunet_cli.results.events import Event, Notice, WarningIssued
from lunet_cli.results.training import (
    EpochDone,
    EpochRecord,
    PlanChosen,
    StepDone,
    TrainingStarted,
    TrainResult,
)

OnEvent = Callable[[Event], None]
OnResult = Callable[[TrainResult], None]
Outcome = Literal["finished", "stopped early", "interrupted"]


def ignore(_: object) -> None:
    """Do nothing with an event or a result."""


def train(
    config: RunConfig,
    *,
    resume: str | None = None,
    on_event: OnEvent = ignore,
    on_closing: OnResult = ignore,
) -> TrainResult:
    """Train a network.

    Args:
        config: What to train, on what, and how.
        resume: `auto` goes on with the run folder of `config` if there is a state in it, and starts
            there otherwise; a path to a checkpoint or run folder goes on with that one. A
            checkpoint of the authors' release gives starting weights only.
        on_event: Called with what happens, in the process and thread of the caller.
        on_closing: Called with the result before the run is recorded as finished, to add files to
            its folder. A run that is killed within does it again when it is resumed.

    Returns:
        What came out; `outcome` tells whether the run ended by itself.

    Raises:
        LunetError: Of the kind that fits; nothing has been written unless training had begun.
    """
    require_one_process()
    folder = RunFolder(config.experiment.output_dir / config.experiment.name)
    resolve_device(config.training.device)
    folder.require_writable()
    with unwinding(), hold_run(folder.path, on_event) as lock:
        # Read under the lock: until then, another process may have gone on.
        start = read_start(find_resume_source(resume, folder))
        require_work_left(start, folder, config.training.epochs)
        if config.training.num_threads is not None:
            torch.set_num_threads(config.training.num_threads)
        run = _Run(config, folder, lock, set_up(config, on_event), start, on_event)
        return run.execute(on_closing)


class _Run:
    """A training between its first and its last step."""

    def __init__(
        self,
        config: RunConfig,
        folder: RunFolder,
        lock: RunLock,
        setup: Setup,
        start: Start,
        on_event: OnEvent,
    ) -> None:
        self._config = config
        self._folder = folder
        self._lock = lock
        self._setup = setup
        self._start = start
        self._on_event = on_event
        network = setup.new_network(config.experiment.seed)
        if start.checkpoint is not None and start.path is not None:
            require_same_card(setup, start.checkpoint, start.path)
            require_same_sides(setup, start.path)
        if start.foreign is not None and start.path is not None:
            load_authors_weights(start.foreign, network, start.path)
        plan, self._plan_event = self._plan(network)
        self._context = StepContext(
            config.training, plan, setup.card.labels, setup.loss, setup.card.window
        )
        self._state = TrainState.fresh(network, config.training, plan)
        self._health = Health(config.training, len(setup.sampler))
        self._pace = Pace(len(setup.sampler))
        torch.manual_seed(config.experiment.seed)
        if start.checkpoint is not None:
            self._restore(start.checkpoint)

    def execute(self, on_closing: OnResult) -> TrainResult:
        """Train to the end, or to a signal."""
        try:
            self._open()
            start = time.perf_counter()
            outcome, signal = self._train_guarded()
            result = TrainResult(
                run_dir=self._folder.path,
                outcome=outcome,
                architecture=self._config.model.architecture,
                num_parameters=count_parameters(self._state.network),
                history=tuple(self._state.history),
                best=self._state.best,
                seconds=time.perf_counter() - start,
                signal=signal,
            )
            return result if outcome == "interrupted" else self._close(result, on_closing)
        except LunetError as error:
            if self._lock.is_kept:
                with contextlib.suppress(OutputError):  # What is wrong may be the disk.
                    self._folder.log(f"error: {error.message}")
            raise

    def _open(self) -> None:
        """Write what a run folder has from the start on, the log first, which marks it as one."""
        folder = self._folder
        self._report(self._plan_event)
        folder.remove_leftovers()
        folder.write_config(self._config)
        folder.write_manifest(self._manifest())
        folder.write_history(self._state.history)
        if self._start.path is not None:
            self._report(Notice(self._start_sentence()))
        if not self._start.is_newest_of(folder):
            self._save_last()
        if self._start.checkpoint is not None:
            self._adopt_best()
        if self._has_epochs_left:
            self._report(self._started_event())
        else:
            self._report(
                Notice(
                    f"all {self._state.epoch} epochs are done; what is left is the end of the training"
                )
            )

    def _train_guarded(self) -> tuple[Outcome, int]:
        mirror = WandbMirror(
            self._config, self._folder.path, lambda text: self._report(WarningIssued(text))
        )
        try:
            with InterruptGuard() as guard:
                outcome = self._train(guard, mirror)
        finally:
            mirror.close()
        if outcome == "interrupted":
            epoch, step = self._state.epoch + 1, self._state.step
            self._folder.log(f"interrupted by signal {guard.signal} in epoch {epoch}, step {step}")
        return outcome, guard.signal

    def _train(self, guard: InterruptGuard, mirror: WandbMirror) -> Outcome:
        state, setup = self._state, self._setup
        forward = self._context.plan.callable_of(state.network)
        averaged = copy.deepcopy(state.network) if state.average is not None else None
        while self._has_epochs_left:
            if self._is_stale():
                return "stopped early"
            start, first_step = time.perf_counter(), state.step
            try:
                train_epoch(
                    state, forward, setup.loader, setup.sampler, self._context, guard, self._on_step
                )
                state.require_finite()
                record, complaints = self._validate(averaged, guard, start)
            except InterruptRequested:
                state.seconds += time.perf_counter() - start
                state.require_finite()
                self._lock.require_kept()
                self._save_last()
                return "interrupted"
            self._pace.note(time.perf_counter() - start, len(setup.sampler) - first_step)
            mirror(self._finish_epoch(record))
            for complaint in complaints:
                self._report(WarningIssued(complaint))
            if guard.signal:
                return "interrupted"
        return "finished"

    def _validate(
        self, averaged: SegmentationNetwork | None, guard: InterruptGuard, start: float
    ) -> tuple[EpochRecord, list[str]]:
        """Validate; return the record of the epoch, and what is wrong with the training."""
        state, store, context = self._state, self._setup.val, self._context

        def validate_plain() -> Validation:
            return validate(state.network, store, context, guard)

        validation = validate(self._validating_network(averaged), store, context, guard)
        record = EpochRecord(
            state.epoch + 1,
            state.loss_sum / state.step,
            validation.loss,
            validation.mean_dice,
            validation.dice_per_label,
            state.optimizer.param_groups[0]["lr"],
            state.seconds + time.perf_counter() - start,
        )
        comparison = None if averaged is None else validate_plain
        return record, list(self._health.complaints([*state.history, record], comparison))

    def _finish_epoch(self, record: EpochRecord) -> EpochDone:
        state, config, folder = self._state, self._config.training, self._folder
        self._lock.require_kept()
        if not folder.holds_history(state.history):
            text = f"{folder.history}: was removed or changed while the training ran; it is written anew"
            self._report(WarningIssued(text))
        is_best = state.finish_epoch(record)
        if is_best and config.checkpoint.keep_best:
            save_checkpoint(
                self._checkpoint(state.best_weights_source, with_training=False), folder.best
            )
        every = config.checkpoint.save_every
        if every and record.epoch % every == 0:
            save_checkpoint(
                self._checkpoint(state.network.state_dict(), with_training=True),
                folder.kept_checkpoint(record.epoch),
            )
        self._save_last()
        folder.write_history(state.history)
        event = EpochDone(
            record, config.epochs, is_best, self._pace.seconds_left(config.epochs - record.epoch)
        )
        self._report(event)
        return event

    def _close(self, result: TrainResult, on_closing: OnResult) -> TrainResult:
        """Measure and draw what the configuration asks for; the summary, written last, marks the run as finished."""
        self._require_sound_end()
        result = assess(result, self._config, self._best_network(), self._setup, self._context)
        on_closing(result)
        write_summary(result, self._folder)
        return result

    def _plan(self, network: SegmentationNetwork) -> tuple[ExecutionPlan, PlanChosen]:
        config, setup, checkpoint = self._config.training, self._setup, self._start.checkpoint
        if checkpoint is not None:
            plan = ExecutionPlan(**dict(checkpoint.execution))
            is_wanted = config.precision in ("auto", plan.precision) and config.compile in (
                "auto",
                plan.compile,
            )
            if is_wanted and plan.device == resolve_device(config.device):
                return plan, PlanChosen(str(plan), "as this run began")
        return choose_plan(config, network, setup.first_batch, setup.loss, self._on_event)

    def _restore(self, checkpoint: Checkpoint) -> None:
        assert checkpoint.training is not None
        path = self._start.path
        if path is not None:
            require_fitting(checkpoint.weights, self._state.network, path)
        require_fitting_optimizer(checkpoint.training["optimizer"], self._state.optimizer, path)
        try:
            self._state.restore(checkpoint.weights, checkpoint.epoch, checkpoint.training)
        except (KeyError, ValueError, RuntimeError) as error:
            raise CheckpointError(
                f"{self._start.path}: its training state does not fit ({str(error).splitlines()[0]})",
                hint="Resume with the optimizer that the run was started with.",
            ) from None
        if self._state.step > len(self._setup.sampler):
            raise CheckpointError(
                f"{self._start.path}: stands at step {self._state.step} of an epoch that now has "
                f"{len(self._setup.sampler)}",
                hint="Resume with the data and batch_size that the run was started with.",
            )

    @property
    def _has_epochs_left(self) -> bool:
        return self._state.epoch < self._config.training.epochs

    def _require_sound_end(self) -> None:
        """Raise if the training has ended without a number, whatever it has kept before."""
        history, best = self._state.history, self._state.best
        first = len(history)
        while first > 0 and not math.isfinite(history[first - 1].val_loss):
            first -= 1
        if first == len(history):
            return
        kept = "no model is kept" if best is None else f"the best model is of epoch {best.epoch}"
        raise TrainingError(
            f"{self._folder.path}: the validation loss is {history[-1].val_loss} since epoch {first + 1}; {kept}",
            hint=DIVERGED,
        )

    def _adopt_best(self) -> None:
        """Take over the best model beside the state that is resumed; without it, the best counts anew from here."""
        state, path = self._state, self._start.path
        if path is None or state.best is None or not self._config.training.checkpoint.keep_best:
            return
        source = path.with_name(BEST)
        model = read_model(source)
        kept = [
            record for record in state.history if model is not None and record.epoch == model.epoch
        ]
        expected, state.best = state.best, kept[0] if kept else None
        # A kill between the best model and the state leaves the model of the epoch that is about to
        # be repeated.
        is_ahead = model is not None and model.epoch == state.epoch + 1
        if state.best is None and not is_ahead:
            text = f"{source}: the best model, of epoch {expected.epoch}, is not there any more"
            self._report(WarningIssued(text))
        if (
            state.best is not None
            and model is not None
            and path.parent.resolve() != self._folder.path.resolve()
        ):
            save_checkpoint(model, self._folder.best)

    def _is_stale(self) -> bool:
        patience, best = self._config.training.early_stopping_patience, self._state.best
        return (
            patience is not None and best is not None and self._state.epoch - best.epoch >= patience
        )

    def _validating_network(self, averaged: SegmentationNetwork | None) -> SegmentationNetwork:
        if averaged is None or self._state.average is None:
            return self._state.network
        averaged.load_state_dict(self._state.average)
        return self._context.plan.place(averaged)

    def _best_network(self) -> SegmentationNetwork:
        network = build_network(self._setup.card.network)
        is_kept = self._state.best is not None and self._config.training.checkpoint.keep_best
        weights = (
            load_checkpoint(self._folder.best).weights
            if is_kept
            else self._state.best_weights_source
        )
        network.load_state_dict(weights)
        return self._context.plan.place(network)

    def _checkpoint(self, weights: dict[str, torch.Tensor], *, with_training: bool) -> Checkpoint:
        return Checkpoint(
            self._setup.card,
            {name: tensor.detach().cpu() for name, tensor in weights.items()},
            self._state.epoch,
            KeptConfig.of(self._config),
            versions(),
            self._execution(),
            self._state.to_dict() if with_training else None,
        )

    def _save_last(self) -> None:
        save_checkpoint(
            self._checkpoint(self._state.network.state_dict(), with_training=True),
            self._folder.last,
        )

    def _on_step(self, event: StepDone) -> None:
        if event.step % self._config.training.log_interval == 0:
            self._report(event)
        else:
            self._on_event(event)

    def _report(self, event: Event) -> None:
        self._lock.require_kept()
        self._folder.log(event)
        self._on_event(event)

    def _start_sentence(self) -> str:
        if self._start.foreign is not None:
            return f"starting from the authors' weights in {self._start.path}"
        where = f", step {self._state.step}" if self._state.step else ""
        sentence = f"resumed from {self._start.path} after epoch {self._state.epoch}{where}"
        theirs = self._start.checkpoint.config.root if self._start.checkpoint else {}
        changed = changed_settings(theirs, self._config.model_dump(mode="json"))
        return sentence + (f", with {', '.join(changed)}" if changed else "")

    def _started_event(self) -> TrainingStarted:
        setup = self._setup
        conditions = {
            "augmentation": self._config.augmentation.enabled,
            "dropout": setup.card.network.dropout > 0,
        }
        return TrainingStarted(
            run_dir=self._folder.path,
            architecture=self._config.model.architecture,
            num_parameters=count_parameters(self._state.network),
            num_train=len(setup.train),
            num_val=len(setup.val),
            labels=setup.card.labels.names,
            first_epoch=self._state.epoch + 1,
            num_epochs=self._config.training.epochs,
            num_steps=len(setup.sampler),
            patch_size=setup.card.window,
            conditions=tuple(name for name, is_on in conditions.items() if is_on),
            is_averaged=self._state.average is not None,
        )

    def _execution(self) -> Execution:
        return Execution.model_validate(self._context.plan.to_dict())

    def _manifest(self) -> Manifest:
        setup, config = self._setup, self._config
        root = None if config.data.root is None else str(config.data.root)
        return Manifest(
            started=datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
            versions=versions(),
            machine=Machine(
                platform=machine_name(), cpus=os.cpu_count(), threads=torch.get_num_threads()
            ),
            seed=config.experiment.seed,
            git_commit=git_commit(),
            architecture=config.model.architecture,
            num_parameters=count_parameters(self._state.network),
            **dict(setup.card.to_record()),
            execution=self._execution(),
            data=DataOrigin(layout=setup.layout, root=root, cache=setup.cache),
            split=RecordedSplit(
                origin=setup.split.origin,
                train=tuple(case.case_id for case in setup.split.train),
                val=tuple(case.case_id for case in setup.split.val),
            ),
        )
