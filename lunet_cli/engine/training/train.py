"""The job `train`: from a configuration to a finished run folder."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

import torch

from lunet_cli.config.load import load_config
from lunet_cli.config.run import RunConfig
from lunet_cli.engine.checkpoints.checkpoint import load_checkpoint
from lunet_cli.engine.networks import build_network, count_parameters
from lunet_cli.engine.networks.blocks import SegmentationNetwork
from lunet_cli.engine.networks.execution import resolve_device
from lunet_cli.engine.process_group import ProcessGroup, ProcessLost, joined_group
from lunet_cli.engine.run_folder import RunFolder
from lunet_cli.engine.run_lock import RunLock, hold_run
from lunet_cli.engine.training.assessment import assess
from lunet_cli.engine.training.context import StepContext
from lunet_cli.engine.training.gradients import Gradients
from lunet_cli.engine.training.health import Health
from lunet_cli.engine.training.interrupts import InterruptGuard, InterruptRequested, unwinding
from lunet_cli.engine.training.loop import epoch_record, train_epoch, validate
from lunet_cli.engine.training.modes import measure_modes
from lunet_cli.engine.training.pace import Pace
from lunet_cli.engine.training.recorder import RunRecorder, SilentRecorder
from lunet_cli.engine.training.resumption import (
    adopt_best,
    first_network,
    first_state,
    kept_plan,
    start_sentence,
)
from lunet_cli.engine.training.setup import set_up
from lunet_cli.engine.training.start import (
    SavedState,
    Start,
    find_resume_source,
    is_newest_of,
    read_start,
    require_work_left,
)
from lunet_cli.engine.training.state import DIVERGED, TrainState
from lunet_cli.engine.training.tracking import Tracking
from lunet_cli.engine.training.verification import choose_plan
from lunet_cli.errors import DataError, TrainingError
from lunet_cli.results.events import Event, Notice
from lunet_cli.results.training import EpochRecord, PlanChosen, TrainingStarted, TrainResult

OnEvent = Callable[[Event], None]
OnResult = Callable[[TrainResult], None]
Outcome = Literal["finished", "stopped early", "interrupted"]


def ignore(_: object) -> None:
    """Do nothing with an event or a result."""


def train(
    config: RunConfig | Path | str,
    *,
    resume: str | None = None,
    on_event: OnEvent = ignore,
    on_closing: OnResult = ignore,
) -> TrainResult:
    """Train a network.

    Args:
        config: What to train, on what, and how: a configuration, its file, or the name of a shipped
            one.
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

    Example:
        One epoch on built-in phantom volumes:

        >>> settings = ["data.phantom.num_cases=6", "data.phantom.size=32", "training.epochs=1"]
        >>> result = lunet.train(lunet.load_config("quickstart", settings))
        >>> result.outcome, len(result.history)
        ('finished', 1)
    """
    if not isinstance(config, RunConfig):
        config = load_config(config)
    folder = RunFolder.of(config)
    with unwinding(), joined_group() as group, contextlib.ExitStack() as held:
        resolve_device(config.training.device)
        if not group.leads:
            on_event = ignore
        lock = group.one_before_others(
            lambda: held.enter_context(_right_to_write(folder, group, on_event))
        )
        # Read under the lock: until then, another process may have gone on.
        start = group.from_first(lambda: _find_start(resume, folder, config))
        context, network, chosen = _get_ready(config, start, group, on_event)
        state = first_state(network, context, start)
        recorder = _recorder_of(folder, lock, context, on_event)
        with recorder.logging_errors():
            group.from_first(lambda: _open(recorder, state, context, start, chosen))
            state.best = group.from_first(lambda: state.best)
            result = _run_epochs(state, context, recorder)
            if result.outcome == "interrupted" or not group.leads:
                return result
            _require_sound_end(state, folder)
            result = assess(result, _best_network(state, context, folder), context)
            result = _with_one_pass(result, context, recorder)
            on_closing(result)
            # Last, since it marks the run as finished.
            recorder.write_end(result)
            return result


@contextlib.contextmanager
def _right_to_write(
    folder: RunFolder, group: ProcessGroup, on_event: OnEvent
) -> Iterator[RunLock | None]:
    """Hold the run folder; None in a process that writes nothing."""
    if not group.leads:
        yield None
        return
    folder.require_writable()
    with hold_run(folder.path, on_event) as lock:
        yield lock


def _recorder_of(
    folder: RunFolder, lock: RunLock | None, context: StepContext, on_event: OnEvent
) -> RunRecorder:
    if lock is None:
        return SilentRecorder(folder, context)
    return RunRecorder(folder, lock, context, on_event)


def _find_start(resume: str | None, folder: RunFolder, config: RunConfig) -> Start:
    """What the training begins from."""
    start = read_start(find_resume_source(resume, folder))
    require_work_left(start, folder, config.training.epochs)
    return start


def _with_one_pass(result: TrainResult, context: StepContext, recorder: RunRecorder) -> TrainResult:
    """The result with the Dice of the best model in one pass, which its file then holds too."""
    if result.best is None or not context.config.checkpoint.keep_best:
        return result
    modes = None
    try:
        best, dice = recorder.folder.best, result.best.val_dice
        modes = measure_modes(best, dice, context, recorder.report)
    except DataError as error:  # No reason to lose a training.
        recorder.warn(f"not validated in one pass: {error.message}")
    recorder.keep_modes(modes)
    return result if modes is None else replace(result, one_pass_dice=modes.one_pass)


def _get_ready(
    config: RunConfig, start: Start, group: ProcessGroup, on_event: OnEvent
) -> tuple[StepContext, SegmentationNetwork, PlanChosen]:
    """Everything that is fixed, the network to start with, and why it is computed as it is."""
    if config.training.num_threads is not None:
        torch.set_num_threads(config.training.num_threads)
    # What the first process has prepared, the others find in the cache.
    setup = group.one_before_others(lambda: set_up(config, on_event, group=group))
    network = first_network(setup, start)
    plan = kept_plan(start, config.training)
    if plan is not None:
        chosen = PlanChosen(str(plan), "as this run began")
    else:
        plan, chosen = group.from_first(
            lambda: choose_plan(config.training, network, setup.first_batch, setup.loss, on_event)
        )
    teacher = setup.start_teacher(plan)
    return StepContext(setup, plan, teacher, group=group), network, chosen


def _open(
    recorder: RunRecorder,
    state: TrainState,
    context: StepContext,
    start: Start,
    chosen: PlanChosen,
) -> None:
    """Write what a run folder has from the start on."""
    # First of all, a line in the log: it marks the folder as one of a run.
    recorder.report(chosen)
    if context.group.size > 1:
        shared = f"{context.group.size} processes share each batch of {context.config.batch_size}"
        recorder.report(Notice(shared))
    recorder.write_origin(state)
    sentence = start_sentence(state, start, recorder.config)
    if sentence:
        recorder.report(Notice(sentence))
    if not is_newest_of(start, recorder.folder):
        recorder.save_last(state)
    if isinstance(start, SavedState):
        adopt_best(state, start, recorder)
    if state.epoch < context.config.epochs:
        recorder.report(_started(state, context, recorder.folder))
    else:
        done = f"all {state.epoch} epochs are done"
        recorder.report(Notice(f"{done}; what is left is the end of the training"))


def _run_epochs(state: TrainState, context: StepContext, recorder: RunRecorder) -> TrainResult:
    """Train until all epochs are done, validation stops improving, or a signal comes."""
    config, folder = recorder.config, recorder.folder
    start = time.perf_counter()
    # The first of several processes speaks for all.
    services = None if context.group.leads else ()
    tracking = Tracking(config, folder, state.history, recorder.report, services)
    with tracking, InterruptGuard(context.group) as guard:
        outcome = tracking.ending = _train_and_validate(state, context, recorder, tracking, guard)
    if outcome == "interrupted" and context.group.leads:
        where = f"epoch {state.epoch + 1}, step {state.step}"
        folder.log(f"interrupted by signal {guard.signal} in {where}")
    return TrainResult(
        run_dir=folder.path,
        outcome=outcome,
        architecture=config.model.architecture,
        num_parameters=count_parameters(state.network),
        history=tuple(state.history),
        best=state.best,
        seconds=time.perf_counter() - start,
        signal=guard.signal,
    )


def _train_and_validate(
    state: TrainState,
    context: StepContext,
    recorder: RunRecorder,
    tracking: Tracking,
    guard: InterruptGuard,
) -> Outcome:
    num_epochs, num_steps = context.config.epochs, context.setup.sampler.num_steps
    gradients = Gradients(state, context)
    first_epoch = state.epoch + 1
    health, pace = Health(context.config, num_steps), Pace(num_steps)
    while state.epoch < num_epochs:
        if _is_stale(state, context.config.early_stopping_patience):
            return "stopped early"
        if _is_out_of_time(state, context.config.max_minutes):
            return "stopped early"
        start, first_step = time.perf_counter(), state.step
        try:
            train_epoch(state, gradients, context, guard, recorder.on_step)
            state.require_finite()
            record = _validate(state, context, guard, start)
            warnings = _health_warnings(health, record, state, context, guard)
        except (InterruptRequested, ProcessLost) as reason:
            state.seconds += time.perf_counter() - start
            state.require_finite()
            recorder.save_last(state)
            if isinstance(reason, ProcessLost):
                raise
            return "interrupted"
        pace.note(time.perf_counter() - start, num_steps - first_step)
        seconds_left = pace.seconds_left(num_epochs - record.epoch)
        tracking.show(recorder.finish_epoch(state, record, seconds_left=seconds_left))
        if record.epoch == first_epoch:
            _tell_time_of_teacher(context, recorder)
        for warning in warnings:
            recorder.warn(warning)
        if guard.is_asked():
            return "interrupted"
    return "finished"


def _tell_time_of_teacher(context: StepContext, recorder: RunRecorder) -> None:
    """Say what the teacher costs, once it has been measured."""
    if context.teacher is None:
        return
    seconds = context.teacher.stopwatch.mean_seconds
    if seconds is not None:
        recorder.report(Notice(f"teacher: {1000 * seconds:.3g} ms for each batch"))


def _is_stale(state: TrainState, patience: int | None) -> bool:
    """Whether validation has not improved for as long as the configuration waits."""
    if patience is None or state.best is None or not state.history[-1].is_validated:
        return False
    return state.epoch - state.best.epoch >= patience


def _is_out_of_time(state: TrainState, max_minutes: float | None) -> bool:
    """Whether an epoch as long as the last one would end beyond the time that there is."""
    if max_minutes is None or not state.history:
        return False
    spent = math.fsum(record.epoch_seconds for record in state.history)
    return spent + state.history[-1].epoch_seconds > 60 * max_minutes


def _validate(
    state: TrainState, context: StepContext, guard: InterruptGuard, start: float
) -> EpochRecord:
    """Validate if it is due; return the line of an epoch that began, or was gone on with, then."""
    validation = None
    epoch, config = state.epoch + 1, context.config
    if epoch % config.validation_interval == 0 or epoch == config.epochs:
        validation = validate(state.validated_network, context, guard)
    seconds = time.perf_counter() - start
    record = epoch_record(state, validation, context.labels.names, seconds)
    # All count the same seconds.
    return context.group.from_first(lambda: record)


def _health_warnings(
    health: Health,
    record: EpochRecord,
    state: TrainState,
    context: StepContext,
    guard: InterruptGuard,
) -> list[str]:
    """What is wrong with the training; where weights are averaged, compared with the plain ones."""
    if not record.is_validated:
        return []
    validate_plain = None
    if state.average is not None:
        validate_plain = partial(validate, state.network, context, guard)
    validated = [epoch for epoch in (*state.history, record) if epoch.is_validated]
    return list(health.warnings(validated, validate_plain))


def _require_sound_end(state: TrainState, folder: RunFolder) -> None:
    """Raise if the training has ended without a number, whatever it has kept before."""
    history, best = [epoch for epoch in state.history if epoch.is_validated], state.best
    first = len(history)
    while first > 0 and not math.isfinite(history[first - 1].val_loss):
        first -= 1
    if first == len(history):
        return
    kept = "no model is kept"
    if best is not None:
        kept = f"the best model is of epoch {best.epoch}"
    loss = history[-1].val_loss
    raise TrainingError(
        f"{folder.path}: the validation loss is {loss} since epoch {history[first].epoch}; {kept}",
        hint=DIVERGED,
    )


def _best_network(
    state: TrainState, context: StepContext, folder: RunFolder
) -> SegmentationNetwork:
    weights = state.validated_network.state_dict()
    if state.best is not None and context.config.checkpoint.keep_best:
        weights = load_checkpoint(folder.best).weights
    network = build_network(context.setup.card.network)
    network.load_state_dict(weights)
    return context.plan.place(network)


def _started(state: TrainState, context: StepContext, folder: RunFolder) -> TrainingStarted:
    setup = context.setup
    conditions = []
    if setup.config.augmentation.changes.any:
        conditions.append("augmentation")
    if setup.card.network.dropout > 0:
        conditions.append("dropout")
    return TrainingStarted(
        run_dir=folder.path,
        architecture=setup.config.model.architecture,
        num_parameters=count_parameters(state.network),
        num_train=len(setup.train),
        num_val=len(setup.val),
        labels=setup.card.labels.names,
        first_epoch=state.epoch + 1,
        num_epochs=context.config.epochs,
        num_steps=setup.sampler.num_steps,
        patch_size=setup.card.window,
        conditions=tuple(conditions),
        is_averaged=state.average is not None,
    )
