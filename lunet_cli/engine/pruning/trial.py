"""One trial of a study, from where it is to its end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from lunet_cli.engine.checkpoints.checkpoint import load_checkpoint
from lunet_cli.engine.networks import network_of_weights
from lunet_cli.engine.networks.execution import ExecutionPlan, resolve_device
from lunet_cli.engine.pruning.prune import prune
from lunet_cli.engine.pruning.study_plan import Trial
from lunet_cli.engine.run_lock import hold_run
from lunet_cli.engine.training.context import StepContext
from lunet_cli.engine.training.interrupts import InterruptGuard, InterruptRequested, unwinding
from lunet_cli.engine.training.loop import validate
from lunet_cli.engine.training.setup import set_up
from lunet_cli.engine.training.train import train
from lunet_cli.results.events import Event

OnEvent = Callable[[Event], None]
Outcome = Literal["finished", "interrupted"]


def run_trial(trial: Trial, on_event: OnEvent) -> Outcome:
    """Begin a trial or go on with it.

    Args:
        trial: The trial; the one that it starts from has finished.
        on_event: Called with what happens.

    Raises:
        LunetError: Of the kind that fits; what was done before is kept.
    """
    if trial.state != "finished" and not _is_finished_now(trial, on_event):
        return "interrupted"
    if trial.kind == "from-scratch" and not _is_measured(trial):
        return _measure_cases(trial, on_event)
    return "finished"


def needs_work(trial: Trial) -> bool:
    """Whether a trial is not done, or not measured as the study needs it.

    Raises:
        DataError: Its files are damaged.
    """
    if trial.state != "finished":
        return True
    return trial.kind == "from-scratch" and not _is_measured(trial)


def _is_measured(trial: Trial) -> bool:
    """Whether it is known of a training what its best model reaches on each case."""
    summary = trial.folder.read_summary()
    if summary is None or summary.best is None:
        return False
    return trial.folder.read_validation_cases(summary.best.epoch) is not None


def _is_finished_now(trial: Trial, on_event: OnEvent) -> bool:
    """Train or prune; return whether that has ended by itself."""
    if trial.start is None:
        return train(trial.config, resume="auto", on_event=on_event).outcome != "interrupted"
    start = trial.start.folder.path
    pruned = prune(trial.config, start=start, resume="auto", on_event=on_event)
    return pruned.outcome != "interrupted"


def _measure_cases(trial: Trial, on_event: OnEvent) -> Outcome:
    """Validate the best model as steps of a pruning are, and keep the Dice of each case.

    An evaluation would measure on the grid of the files, with windows that overlap.
    """
    folder, config = trial.folder, trial.config
    with unwinding(), hold_run(folder.path, on_event), InterruptGuard() as guard:
        checkpoint = load_checkpoint(folder.best)
        plan = ExecutionPlan(**dict(checkpoint.execution))
        plan = replace(plan, device=resolve_device(config.training.device))
        network = network_of_weights(checkpoint.card.network, checkpoint.weights)
        context = StepContext(set_up(config.without_teacher, on_event), plan)
        try:
            found = validate(plan.place(network), context, guard)
        except InterruptRequested:
            return "interrupted"
        folder.write_validation_cases(checkpoint.epoch, found.mean_dice_per_case)
    return "finished"
