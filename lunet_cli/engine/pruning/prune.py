"""The job `prune`: from a network to a smaller one, step by step."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from lunet_cli.config.layers import widths_of
from lunet_cli.config.load import load_config
from lunet_cli.config.pruning import phase_of
from lunet_cli.config.run import RunConfig
from lunet_cli.config.visualization import VisualizationConfig
from lunet_cli.engine.checkpoints.checkpoint import Checkpoint, load_checkpoint
from lunet_cli.engine.evaluation.non_inferiority import ENOUGH_CASES
from lunet_cli.engine.networks import count_parameters, network_of_weights
from lunet_cli.engine.networks.execution import resolve_device
from lunet_cli.engine.pruning.beginning import Beginning, begin
from lunet_cli.engine.pruning.pruner import Pruner, chosen_by
from lunet_cli.engine.pruning.recorder import PruningRecorder
from lunet_cli.engine.pruning.resumption import read_saved, require_work_left
from lunet_cli.engine.run_folder import RunFolder
from lunet_cli.engine.run_lock import hold_run, holder_of
from lunet_cli.engine.training.assessment import assess
from lunet_cli.engine.training.interrupts import InterruptGuard, InterruptRequested, unwinding
from lunet_cli.engine.training.start import require_one_process
from lunet_cli.errors import CheckpointError
from lunet_cli.results.events import Event, Notice
from lunet_cli.results.pruning import Outcome, PruneResult, PruningStep
from lunet_cli.results.training import TrainResult


def ignore(_: object) -> None:
    """Do nothing with an event."""


def prune(
    config: RunConfig | Path | str,
    *,
    start: Path | str | None = None,
    resume: str | None = None,
    on_event: Callable[[Event], None] = ignore,
) -> PruneResult:
    """Take channels out of a network, step by step, and let it recover after each.

    The section `pruning` says how. Every step is validated, and the smallest network that is as
    good as `pruning.reference`, but for `pruning.margin`, becomes the best model of the run.

    Args:
        config: What to prune, on what data, and how: a configuration, its file, or the name of a
            shipped one.
        start: The trained network to begin with, a checkpoint or run folder; None begins with the
            network of `config` as its seed draws it, for which `pruning.warmup_epochs` is there.
        resume: `auto` goes on with the run folder of `config` if there is a state in it, and begins
            otherwise.
        on_event: Called with what happens, in the process and thread of the caller.

    Returns:
        Every step and the chosen one; `outcome` tells whether the pruning ended by itself.

    Raises:
        LunetError: Of the kind that fits; what was done before is kept.

    References:
        STAMP, Dinsdale et al., Medical Image Analysis 81:102583, 2022; its rivals in Lean Unet,
        arXiv:2512.03834.

    Example:
        Two steps from a network that was trained before, on the same data:

        >>> settings = ["experiment.output_dir=runs", "experiment.name=pruned", "pruning.steps=2"]
        >>> config = lunet.load_config("runs/phantom/config.yaml", settings)
        >>> result = lunet.prune(config, start="runs/phantom")
        >>> result.outcome, [sum(step.widths.values()) for step in result.steps]
        ('finished', [88, 87, 86])
    """
    if not isinstance(config, RunConfig):
        config = load_config(config)
    require_one_process()
    resolve_device(config.training.device)
    folder = RunFolder.of(config)
    folder.require_writable()
    with unwinding(), hold_run(folder.path, on_event) as lock:
        # Read under the lock: until then, another process may have gone on.
        saved = read_saved(resume, folder)
        require_work_left(saved, folder, config)
        begun = begin(config, None if start is None else Path(start), saved, on_event)
        recorder = PruningRecorder(folder, lock, begun.context, on_event)
        if start is not None and saved is None:
            _warn_of_training(Path(start), recorder)
        with recorder.run.logging_errors():
            return _prune(begun, recorder)


def _prune(begun: Beginning, recorder: PruningRecorder) -> PruneResult:
    progress = begun.progress
    recorder.run.report(begun.chosen_plan)
    recorder.run.write_origin(progress.train)
    if begun.is_resumed:
        recorder.folder.remove_summary()
    else:
        # So that there is a state to go on from before there is any model.
        recorder.save(progress, begun.context)
    recorder.folder.write_pruning(progress.steps)
    for sentence in begun.sentences:
        recorder.run.report(Notice(sentence))
    _warn_of_few_cases(len(begun.context.setup.val), recorder)
    start = time.perf_counter()
    with InterruptGuard() as guard:
        pruner = Pruner(begun.context, progress, recorder, guard)
        outcome: Outcome = "finished"
        try:
            pruner.run()
        except InterruptRequested:
            outcome = "interrupted"
            recorder.folder.log(f"interrupted by signal {guard.signal}")
    if pruner.stopped_early:
        outcome = "stopped early"
    result = PruneResult(
        run_dir=recorder.folder.path,
        outcome=outcome,
        reason=pruner.stop_reason,
        architecture=recorder.config.model.architecture,
        num_parameters=begun.num_parameters,
        steps=tuple(progress.steps),
        chosen=chosen_by(recorder.config.pruning, progress.steps),
        seconds=time.perf_counter() - start,
        signal=guard.signal,
    )
    if outcome != "interrupted":
        recorder.run.report(Notice(f"pruning ends: {result.reason}"))
        _write_end(result, begun, recorder)
    return result


def _warn_of_training(start: Path, recorder: PruningRecorder) -> None:
    """Say where what is pruned may not be what its training will end with."""
    run = start if start.is_dir() else start.parent
    holder = holder_of(run)
    if holder is not None:
        recorder.run.warn(
            f"{run}: is still being trained, by {holder}; what is pruned is its network so far"
        )


def _warn_of_few_cases(num_cases: int, recorder: PruningRecorder) -> None:
    """Say where the rule that chooses a step stands on too little."""
    if num_cases == 1:
        recorder.run.warn(
            "1 validation case: without a confidence interval, no network can be shown to be as "
            "good as that of `pruning.reference`, which is chosen itself"
        )
    elif num_cases < ENOUGH_CASES:
        recorder.run.warn(
            f"{num_cases} validation cases: with fewer than {ENOUGH_CASES}, confidence intervals "
            "are too narrow, and a network that is worse is more often taken for as good"
        )


def _write_end(result: PruneResult, begun: Beginning, recorder: PruningRecorder) -> None:
    """Measure the chosen network as the configuration asks for, and mark the run as finished."""
    chosen, context = result.chosen, begun.context
    assert chosen is not None  # A step that has ended is validated, and then there is a best one.
    phase = phase_of(chosen.step, recorder.config.pruning)
    checkpoint = _best_model(recorder.folder, chosen, phase.stop)
    network = network_of_weights(checkpoint.card.network, checkpoint.weights)
    history = begun.progress.train.history
    # A step without epochs has no line in it.
    own_epochs = history[phase.start : phase.stop]
    trained = TrainResult(
        run_dir=result.run_dir,
        outcome=result.outcome,
        architecture=result.architecture,
        num_parameters=count_parameters(network),
        history=tuple(history),
        best=next(reversed(own_epochs), None),
        seconds=result.seconds,
    )
    # Pictures are for trainings.
    config = recorder.config.model_copy(update={"visualization": VisualizationConfig()})
    setup = replace(context.setup, card=checkpoint.card, config=config)
    assessed = assess(trained, context.plan.place(network), replace(context, setup=setup))
    recorder.run.write_end(assessed)


def _best_model(folder: RunFolder, chosen: PruningStep, epoch: int) -> Checkpoint:
    """The model of the chosen step.

    Raises:
        CheckpointError: It was removed, or another one lies in its place.
    """
    model = load_checkpoint(folder.best)
    spec = model.card.network
    if model.epoch != epoch or list(widths_of(spec).values()) != list(chosen.widths.values()):
        raise CheckpointError(
            f"{folder.best}: is not the network of step {chosen.step}, which is chosen",
            hint="Something else has written there; begin another pruning under another "
            "`experiment.name`.",
        )
    return model
