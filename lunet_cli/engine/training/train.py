"""The job `train`: from a configuration to a finished run folder."""

from __future__ import annotations

import copy
import datetime
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from lunet_cli.config.run import RunConfig
from lunet_cli.engine.checkpoints.authors import is_authors_checkpoint, load_authors_weights
from lunet_cli.engine.checkpoints.checkpoint import Checkpoint, load_checkpoint, load_values, save_checkpoint
from lunet_cli.engine.networks import build_network, count_parameters
from lunet_cli.engine.networks.blocks import SegmentationNetwork
from lunet_cli.engine.networks.execution import ExecutionPlan, machine_name, resolve_device
from lunet_cli.engine.provenance import git_commit, versions
from lunet_cli.engine.run_folder import RunFolder
from lunet_cli.engine.training.closing import assess
from lunet_cli.engine.training.interrupts import InterruptGuard, InterruptRequested
from lunet_cli.engine.training.loop import Machinery, train_epoch, validate
from lunet_cli.engine.training.setup import Setup, set_up
from lunet_cli.engine.training.state import TrainState
from lunet_cli.engine.training.tracking import WandbMirror
from lunet_cli.engine.training.trial import choose_plan
from lunet_cli.errors import CheckpointError, ConfigError
from lunet_cli.results.events import Caution, Event, Notice
from lunet_cli.results.training import EpochDone, EpochRecord, PlanChosen, StepDone, TrainingStarted, TrainResult

OnEvent = Callable[[Event], None]


def ignore_event(event: Event) -> None:
    """Do nothing with an event."""


def train(config: RunConfig, *, resume: str | None = None, on_event: OnEvent = ignore_event) -> TrainResult:
    """Train a network.

    Args:
        config: What to train, on what, and how.
        resume: `auto` goes on with the run folder of `config` if there is a state in it, and starts there
            otherwise; a path to a checkpoint or run folder goes on with that one. A checkpoint of the authors'
            release gives starting weights only.
        on_event: Called with what happens, in the process and thread of the caller.

    Returns:
        What came out; `outcome` tells whether the run ended by itself.

    Raises:
        LunetError: Of the kind that fits; nothing has been written unless training had begun.
    """
    folder = RunFolder(config.experiment.output_dir / config.experiment.name)
    resolve_device(config.training.device)
    source = find_resume_source(resume, folder)
    if source is None or source.parent.resolve() != folder.path.resolve():
        folder.require_free()
    folder.require_writable()
    start = _read_start(source)
    if config.training.num_threads is not None:
        torch.set_num_threads(config.training.num_threads)
    run = _Run(config, folder, set_up(config, on_event), start, on_event)
    return run.execute()


def find_resume_source(resume: str | None, folder: RunFolder) -> Path | None:
    """The checkpoint file that `resume` means; None for a fresh start."""
    if resume is None:
        return None
    if resume == "auto":
        return folder.last if folder.last.exists() else None
    path = Path(resume)
    if path.is_dir():
        path = RunFolder(path).last
    if not path.exists():
        raise CheckpointError(f"{path}: there is no such checkpoint to resume from")
    return path


class _Start:
    """What a training begins from: a state of ours, weights of the authors, or nothing."""

    def __init__(self, path: Path | None, checkpoint: Checkpoint | None, foreign: dict[str, Any] | None) -> None:
        self.path = path
        self.checkpoint = checkpoint
        self.foreign = foreign


def _read_start(path: Path | None) -> _Start:
    if path is None:
        return _Start(None, None, None)
    values = load_values(path)
    if is_authors_checkpoint(values):
        return _Start(path, None, values)
    checkpoint = load_checkpoint(path)
    if checkpoint.training is None:
        raise CheckpointError(
            f"{path}: holds a model without the state of its training",
            hint="Resume from last.pt or a checkpoint_epochNNN.pt of its run folder.",
        )
    return _Start(path, checkpoint, None)


class _Run:
    """A training between its first and its last step."""

    def __init__(self, config: RunConfig, folder: RunFolder, setup: Setup, start: _Start, on_event: OnEvent) -> None:
        self._config = config
        self._folder = folder
        self._setup = setup
        self._start = start
        self._on_event = on_event
        network = setup.new_network(config.experiment.seed)
        if start.checkpoint is not None:
            _require_same_card(setup, start.checkpoint, start.path)
        if start.foreign is not None and start.path is not None:
            load_authors_weights(start.foreign, network, start.path)
        plan, trials = self._plan(network)
        self._machinery = Machinery(config.training, plan, setup.card.labels, setup.loss, setup.card.window)
        self._plan_event = PlanChosen(str(plan), trials)
        self._state = TrainState.fresh(network, config.training, plan)
        torch.manual_seed(config.experiment.seed)
        if start.checkpoint is not None:
            self._restore(start.checkpoint)

    def execute(self) -> TrainResult:
        """Train to the end, or to a signal."""
        config, folder, state = self._config, self._folder, self._state
        self._require_epochs_left()
        folder.create()
        folder.write_config(config)
        folder.write_manifest(self._manifest())
        folder.write_history(state.history)
        self._report(self._plan_event)
        if self._start.path is not None:
            self._report(Notice(self._start_sentence()))
        self._report(self._started_event())
        if self._start.checkpoint is None:
            self._save_last()
        mirror = WandbMirror(config, folder.path, lambda text: self._report(Caution(text)))
        start = time.perf_counter()
        try:
            with InterruptGuard() as guard:
                outcome = self._train(guard, mirror)
        finally:
            mirror.close()
        result = TrainResult(
            run_dir=folder.path,
            outcome=outcome,
            architecture=config.model.architecture,
            num_parameters=count_parameters(state.network),
            history=tuple(state.history),
            best=state.best,
            seconds=time.perf_counter() - start,
            signal=guard.signal,
        )
        if outcome == "interrupted":
            folder.log(f"interrupted by signal {guard.signal} in epoch {state.epoch + 1}, step {state.step}")
            return result
        return assess(result, config, self._best_network(), self._setup, self._machinery, folder)

    def _train(self, guard: InterruptGuard, mirror: WandbMirror) -> Any:
        config, state = self._config.training, self._state
        forward = self._machinery.plan.callable_of(state.network)
        averaged = copy.deepcopy(state.network) if state.average is not None else None
        while state.epoch < config.epochs:
            if self._is_stale():
                return "stopped early"
            start = time.perf_counter()
            try:
                train_epoch(
                    state, forward, self._setup.loader, self._setup.sampler, self._machinery, guard, self._on_step
                )
                network = self._validating_network(averaged)
                validation = validate(network, self._setup.val, self._machinery, guard)
            except InterruptRequested:
                state.seconds += time.perf_counter() - start
                self._save_last()
                return "interrupted"
            record = EpochRecord(
                state.epoch + 1,
                state.loss_sum / state.step,
                validation.loss,
                validation.mean_dice,
                validation.dice_per_label,
                state.optimizer.param_groups[0]["lr"],
                state.seconds + time.perf_counter() - start,
            )
            mirror(self._finish_epoch(record))
            if guard.signal:
                return "interrupted" if state.epoch < config.epochs else "finished"
        return "finished"

    def _finish_epoch(self, record: EpochRecord) -> EpochDone:
        state, config, folder = self._state, self._config.training, self._folder
        state.history.append(record)
        state.epoch, state.step, state.loss_sum, state.seconds = record.epoch, 0, 0.0, 0.0
        is_best = state.best is record
        if is_best and config.checkpoint.keep_best:
            save_checkpoint(self._checkpoint(state.best_weights_source, with_training=False), folder.best)
        every = config.checkpoint.save_every
        if every and record.epoch % every == 0:
            save_checkpoint(
                self._checkpoint(state.network.state_dict(), with_training=True), folder.kept_checkpoint(record.epoch)
            )
        self._save_last()
        folder.append_history(record)
        recent = [r.epoch_seconds for r in state.history[-10:]]
        left = (config.epochs - record.epoch) * sum(recent) / len(recent)
        event = EpochDone(record, config.epochs, is_best, left)
        self._report(event)
        return event

    def _plan(self, network: SegmentationNetwork) -> tuple[ExecutionPlan, tuple[Any, ...]]:
        checkpoint = self._start.checkpoint
        if checkpoint is not None:
            plan = ExecutionPlan(**checkpoint.execution)
            if plan.device == resolve_device(self._config.training.device):
                return plan, ()
        return choose_plan(self._config.training, network, self._setup.first_batch(), self._setup.loss)

    def _restore(self, checkpoint: Checkpoint) -> None:
        assert checkpoint.training is not None
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

    def _require_epochs_left(self) -> None:
        done, wanted = self._state.epoch, self._config.training.epochs
        if done >= wanted:
            raise ConfigError(
                f"training.epochs: {wanted}, and the run {self._folder.path} has done {done} already",
                hint=f"To go on, raise it: --set training.epochs={2 * done}",
            )

    def _is_stale(self) -> bool:
        patience, best = self._config.training.early_stopping_patience, self._state.best
        return patience is not None and best is not None and self._state.epoch - best.epoch >= patience

    def _validating_network(self, averaged: SegmentationNetwork | None) -> SegmentationNetwork:
        if averaged is None or self._state.average is None:
            return self._state.network
        averaged.load_state_dict(self._state.average)
        return self._machinery.plan.place(averaged)

    def _best_network(self) -> SegmentationNetwork:
        network = build_network(self._setup.card.network)
        kept = self._folder.best
        weights = load_checkpoint(kept).weights if kept.exists() else self._state.best_weights_source
        network.load_state_dict(weights)
        return self._machinery.plan.place(network)

    def _checkpoint(self, weights: dict[str, torch.Tensor], *, with_training: bool) -> Checkpoint:
        return Checkpoint(
            self._setup.card,
            {name: tensor.detach().cpu() for name, tensor in weights.items()},
            self._state.epoch,
            self._config.model_dump(mode="json"),
            versions(),
            self._machinery.plan.to_dict(),
            self._state.to_dict() if with_training else None,
        )

    def _save_last(self) -> None:
        save_checkpoint(self._checkpoint(self._state.network.state_dict(), with_training=True), self._folder.last)

    def _on_step(self, event: StepDone) -> None:
        if event.step % self._config.training.log_interval == 0:
            self._folder.log(event)
        self._on_event(event)

    def _report(self, event: Event) -> None:
        self._folder.log(event)
        self._on_event(event)

    def _start_sentence(self) -> str:
        if self._start.foreign is not None:
            return f"starting from the authors' weights in {self._start.path}"
        where = f", step {self._state.step}" if self._state.step else ""
        sentence = f"resumed from {self._start.path} after epoch {self._state.epoch}{where}"
        theirs = self._start.checkpoint.config if self._start.checkpoint else {}
        changed = _changed_settings(theirs, self._config.model_dump(mode="json"))
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

    def _manifest(self) -> dict[str, Any]:
        setup, config = self._setup, self._config
        return {
            "started": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
            "versions": versions(),
            "machine": {
                "platform": machine_name(),
                "cpus": os.cpu_count(),
                "threads": torch.get_num_threads(),
            },
            "seed": config.experiment.seed,
            "git_commit": git_commit(),
            "architecture": config.model.architecture,
            "num_parameters": count_parameters(self._state.network),
            **setup.card.to_dict(),
            "execution": self._machinery.plan.to_dict(),
            "data": {"layout": setup.layout, "root": config.data.root, "cache": setup.cache},
            "split": {
                "origin": setup.split.origin,
                "train": [case.case_id for case in setup.split.train],
                "val": [case.case_id for case in setup.split.val],
            },
        }


def _require_same_card(setup: Setup, checkpoint: Checkpoint, path: Path | None) -> None:
    """A resumed training must be of the same network, labels and preprocessing."""
    ours, theirs = setup.card.to_dict(), checkpoint.card.to_dict()
    for part, value in ours.items():
        if theirs[part] != value:
            detail = _first_difference(theirs[part], value)
            raise CheckpointError(
                f"{path}: its {part} differs from the configuration's: {detail}",
                hint="Resume with the configuration of that run: config.yaml in its folder.",
            )


def _changed_settings(theirs: dict[str, Any], ours: dict[str, Any], prefix: str = "") -> list[str]:
    """Say for each setting that differs what it was and what it is."""
    changed: list[str] = []
    for key, value in ours.items():
        before = theirs.get(key)
        if isinstance(value, dict) and isinstance(before, dict):
            changed += _changed_settings(before, value, f"{prefix}{key}.")
        elif value != before:
            changed.append(f"{prefix}{key} {value} (was {before})")
    return changed


def _first_difference(theirs: Any, ours: Any) -> str:
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for key in {**theirs, **ours}:
            if theirs.get(key) != ours.get(key):
                return f"{key} {theirs.get(key)} there, {ours.get(key)} here"
    return f"{theirs} there, {ours} here"
