"""How prunings went, from the tables in their run folders; loads no PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lunet_cli.config.load import load_config
from lunet_cli.config.pruning import PruningConfig, phase_of
from lunet_cli.engine.evaluation.non_inferiority import non_inferiority
from lunet_cli.engine.evaluation.pruned_steps import best_step, chosen_step
from lunet_cli.engine.run_folder import RunFolder
from lunet_cli.errors import DataError, LunetError
from lunet_cli.results.pruning import PruningStep
from lunet_cli.results.training import ChosenStep
from lunet_cli.results.views import PrunedNetwork, PruningView
from lunet_cli.results.words import visible


def view_pruning(run: Path, margin: float | None = None) -> PruningView:
    """Read how a pruning went so far, and choose a step.

    Args:
        run: Its run folder.
        margin: Dice that may be lost; None takes that of the run.

    Raises:
        DataError: The run was not pruned, or its tables are damaged.
    """
    folder = RunFolder(run)
    steps = folder.read_pruning()
    asked = _asked(folder)
    rules = asked or PruningConfig()
    if margin is not None:
        rules = rules.model_copy(update={"margin": margin})
    view = summarize_pruning(
        steps,
        rules,
        name=visible(run.resolve().name),
        is_finished=folder.summary.exists(),
    )
    if asked is None:
        return replace(view, strategy="")
    return view


def chosen_of(run: Path) -> ChosenStep | None:
    """The step that a pruning has chosen so far; None of a training, or before step 0 has ended."""
    if not RunFolder(run).pruning.exists():
        return None
    try:
        view = view_pruning(run)
    except DataError:
        return None
    step, rules = view.chosen.step, _asked(RunFolder(run)) or PruningConfig()
    epochs = phase_of(step.step, rules)
    return ChosenStep(
        step=step.step,
        num_steps=view.last.step.step,
        parameters=step.parameters,
        val_dice=step.val_dice,
        epoch=epochs.stop if epochs else None,
    )


def summarize_pruning(
    steps: Sequence[PruningStep], rules: PruningConfig, *, name: str, is_finished: bool
) -> PruningView:
    """The steps of a pruning with what matters of them.

    Args:
        steps: All so far, at least step 0.
        rules: How they were made, and how one of them is chosen.
        name: What the run is called.
        is_finished: Whether the pruning has ended.

    Raises:
        DataError: No step has a Dice.
    """
    margin = rules.margin
    best, chosen = best_step(steps), chosen_step(steps, margin, rules.reference)
    if best is None or chosen is None:
        raise DataError(f"{name}: no step of the pruning can be chosen by a validation Dice")
    first, last = steps[0], steps[-1]

    def compared(step: PruningStep) -> PrunedNetwork:
        dice = step.dice_per_case
        return PrunedNetwork(
            step,
            non_inferiority(dice, first.dice_per_case, margin=margin),
            non_inferiority(dice, best.dice_per_case, margin=margin),
        )

    return PruningView(
        name=name,
        strategy=rules.strategy,
        steps=tuple(steps),
        margin=margin,
        reference=rules.reference,
        best=best.step,
        unpruned=compared(first),
        chosen=compared(chosen),
        last=compared(last),
        is_finished=is_finished,
    )


def _asked(folder: RunFolder) -> PruningConfig | None:
    """What the run was asked to do; None where it does not say so any more."""
    try:
        return load_config(folder.config).pruning
    except LunetError:
        return None
