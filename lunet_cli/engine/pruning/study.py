"""The job `study`: strategies of pruning and networks trained from scratch against each other."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from lunet_cli.config.load import load_config
from lunet_cli.config.run import RunConfig
from lunet_cli.engine.pruning.study_findings import find
from lunet_cli.engine.pruning.study_plan import (
    Trial,
    plan_trials,
    require_as_asked,
    require_startable_trials,
    require_within_reach,
)
from lunet_cli.engine.pruning.trial import needs_work, run_trial
from lunet_cli.engine.run_folder import RunFolder
from lunet_cli.engine.run_lock import hold_run
from lunet_cli.engine.studies.trial_processes import TrialProcess, wait_for
from lunet_cli.engine.training.interrupts import InterruptGuard
from lunet_cli.engine.training.start import require_one_process
from lunet_cli.errors import ConfigError, LunetError
from lunet_cli.results.events import Event
from lunet_cli.results.pruning import PruningStepDone
from lunet_cli.results.studies import (
    StudyResult,
    TrialDone,
    TrialFailed,
    TrialListed,
    TrialStarted,
)
from lunet_cli.results.training import EpochDone

OnEvent = Callable[[Event], None]

PAPER_STRATEGIES = ("stamp", "random-in-layer", "random-in-largest")
"""Those that the STAMP paper compares."""

_PATIENCE_SECONDS = 0.5  # until a signal is looked for again


def ignore(_: object) -> None:
    """Do nothing with an event."""


def study(
    config: RunConfig | Path | str,
    *,
    strategies: Sequence[str] = PAPER_STRATEGIES,
    seeds: int = 2,
    from_scratch: Sequence[str] = (),
    jobs: int = 1,
    budget: float = 0.15,
    on_event: OnEvent = ignore,
) -> StudyResult:
    """Prune the network of a configuration in several ways and with several seeds, and compare.

    Every trial has a run folder in `<output_dir>/<name>`: `start_seed1` is trained, `stamp_seed1`
    prunes its best model, `lunet_small_4f_seed1` is trained from scratch with the same
    configuration. What is finished there is taken as it is, what was interrupted is gone on with.
    As trials are processes of their own, a script that calls this needs
    `if __name__ == "__main__":`.

    Args:
        config: The network, the data, and how it is trained and pruned.
        strategies: What prunings differ in: a strategy, with keys of the section `pruning` behind
            it if they are its own: `stamp:normalization=none`.
        seeds: Seeds, from 1 on; each has a network of its own that is pruned.
        from_scratch: Presets that are trained beside the prunings.
        jobs: Trials at once; the cores are divided among them.
        budget: Share of the parameters that may be left where strategies are compared.
        on_event: Called with what happens.

    Returns:
        What all trials have found that have finished; those that failed are in `failures`.

    Raises:
        LunetError: Of the kind that fits, before any trial has begun.
    """
    require_one_process()
    if not isinstance(config, RunConfig):
        config = load_config(config)
    _require_possible(seeds=seeds, jobs=jobs, budget=budget)
    trials = plan_trials(config, strategies=strategies, seeds=seeds, from_scratch=from_scratch)
    folder = RunFolder.of(config)
    folder.require_writable()
    with hold_run(folder.path, on_event, go_on="start this again"), InterruptGuard() as guard:
        require_as_asked(trials)
        require_within_reach(trials, budget)
        require_startable_trials(trials)
        runner = _Runner(trials, jobs, guard, on_event)
        runner.run()
        found = find(trials, folder, budget=budget, failures=runner.failures)
    return replace(found, signal=guard.signal)


def list_trials(
    config: RunConfig,
    *,
    strategies: Sequence[str] = PAPER_STRATEGIES,
    seeds: int = 2,
    from_scratch: Sequence[str] = (),
    budget: float = 0.15,
) -> tuple[TrialListed, ...]:
    """The trials of a study and how far they are; changes nothing.

    Args:
        config: See `study`, as for the others.
        strategies: What prunings differ in.
        seeds: Seeds, from 1 on.
        from_scratch: Presets that are trained beside the prunings.
        budget: Share of the parameters that may be left where strategies are compared.

    Raises:
        LunetError: Of the kind that the study would raise before any trial begins.
    """
    _require_possible(seeds=seeds, jobs=1, budget=budget)
    trials = plan_trials(config, strategies=strategies, seeds=seeds, from_scratch=from_scratch)
    require_as_asked(trials)
    require_within_reach(trials, budget)
    require_startable_trials(trials)
    RunFolder.of(config).require_writable()
    return tuple(trial.listed() for trial in trials)


def _require_possible(*, seeds: int, jobs: int, budget: float) -> None:
    for name, value in (("seeds", seeds), ("jobs", jobs)):
        if value < 1:
            raise ConfigError(f"`{name}`: {value} is too few", hint="At least 1.")
    if not 0 < budget <= 1:
        raise ConfigError(
            f"`budget`: {budget:g} is not a share of the parameters",
            hint="0.15 compares networks that have lost 85 % of them.",
        )


class _Runner:
    """Trials as they run.

    Args:
        trials: All of them, each after the one that it starts from.
        jobs: How many run at once.
        guard: Tells of signals.
        on_event: Called with what happens.
    """

    def __init__(
        self, trials: Sequence[Trial], jobs: int, guard: InterruptGuard, on_event: OnEvent
    ) -> None:
        self._to_do: list[Trial] = []
        self._running: list[TrialProcess] = []
        self._failures: dict[str, TrialFailed] = {}
        self._jobs, self._guard, self._on_event = jobs, guard, on_event
        for trial in trials:
            self._take(trial)
        at_once = max(1, min(jobs, len(self._to_do)))
        self._num_threads = max(1, (os.cpu_count() or 1) // at_once)

    @property
    def failures(self) -> tuple[TrialFailed, ...]:
        """Trials that failed, or could not begin."""
        return tuple(self._failures.values())

    def run(self) -> None:
        """Go on until no trial is left, or a signal comes; then all that run save their state."""
        try:
            while not self._guard.signal and (self._to_do or self._running):
                self._start_some()
                self._listen()
            for process in self._running:
                process.stop()
            while self._running:
                self._listen()
        finally:
            for process in self._running:
                process.kill()

    def _take(self, trial: Trial) -> None:
        """Put a trial on the list of those to do, unless it is done."""
        try:
            if needs_work(trial):
                self._to_do.append(trial)
        except LunetError as error:
            self._fail(TrialFailed(trial.name, error.message, error.hint))

    def _start_some(self) -> None:
        """Start as many as may run at once, in order; none of those whose start has failed."""
        unfinished = {trial.name for trial in self._to_do}
        unfinished.update(process.name for process in self._running)
        for trial in list(self._to_do):
            start = trial.start
            if start is not None and start.name in self._failures:
                self._to_do.remove(trial)
                self._fail(TrialFailed(trial.name, f"cannot begin, since {start.name} failed"))
                continue
            is_ready = start is None or start.name not in unfinished
            if is_ready and len(self._running) < self._jobs:
                self._to_do.remove(trial)
                self._start(trial)

    def _start(self, trial: Trial) -> None:
        num_threads = trial.config.training.num_threads or self._num_threads
        self._on_event(TrialStarted(trial.name, num_threads))
        # Epochs of a pruning are parts of its steps.
        progress: type[Event] = EpochDone
        if trial.kind == "pruning":
            progress = PruningStepDone
        work = partial(run_trial, trial)
        process = TrialProcess(trial.name, work, num_threads=num_threads, progress=progress)
        self._running.append(process)

    def _listen(self) -> None:
        """Tell what the running trials tell; take those off the list that have ended."""
        for process in wait_for(self._running, _PATIENCE_SECONDS):
            event = process.receive()
            if event is None:
                self._running.remove(process)
                self._note_stopped(process.name)
            elif isinstance(event, TrialFailed):
                self._running.remove(process)
                self._fail(event)
            elif isinstance(event, TrialDone):
                self._running.remove(process)
                num_left = len(self._to_do) + len(self._running)
                self._on_event(replace(event, num_left=num_left))
            else:
                self._on_event(event)

    def _note_stopped(self, trial: str) -> None:
        # Otherwise, the study has stopped it itself.
        if not self._guard.signal:
            hint = "Start the study again to go on with it."
            self._fail(TrialFailed(trial, "was stopped by a signal", hint))

    def _fail(self, failure: TrialFailed) -> None:
        self._failures[failure.trial] = failure
        self._on_event(failure)
