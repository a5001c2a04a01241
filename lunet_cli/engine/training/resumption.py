"""From what a training begins with to its first step: network, arithmetic, state, best model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from pydantic import JsonValue

from lunet_cli.config.run import RunConfig
from lunet_cli.config.training import TrainingConfig
from lunet_cli.engine.checkpoints.authors import load_authors_weights
from lunet_cli.engine.checkpoints.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from lunet_cli.engine.checkpoints.tensors import require_fitting
from lunet_cli.engine.checkpoints.training_state import require_fitting_optimizer
from lunet_cli.engine.networks.blocks import SegmentationNetwork
from lunet_cli.engine.networks.execution import ExecutionPlan, resolve_device
from lunet_cli.engine.run_folder import PRUNED_CONFIG, RunFolder
from lunet_cli.engine.training.context import StepContext
from lunet_cli.engine.training.optimization import state_shapes
from lunet_cli.engine.training.recorder import RunRecorder
from lunet_cli.engine.training.setup import Setup
from lunet_cli.engine.training.start import SavedState, Start
from lunet_cli.engine.training.state import TrainState
from lunet_cli.errors import CheckpointError
from lunet_cli.records.manifest import RecordedTeacher
from lunet_cli.results.events import WarningIssued
from lunet_cli.results.training import EpochRecord
from lunet_cli.results.words import plural

_SETTINGS = "config.yaml in its folder"


def first_network(setup: Setup, start: Start) -> SegmentationNetwork:
    """The network before the first step of a training: as the seed draws it, or as the authors' is.

    Raises:
        CheckpointError: What the training begins from is of another network or other data.
    """
    network = setup.new_network()
    if isinstance(start, SavedState):
        _require_training(start)
        _require_same_card(setup, start)
        require_same_sides(setup, start.path)
        _require_same_teacher(setup, start.path)
    elif start is not None:
        load_authors_weights(start.values, network, start.path)
    return network


def kept_plan(start: Start, config: TrainingConfig) -> ExecutionPlan | None:
    """How a run that is resumed computed before; None where that is not wanted or not possible."""
    if not isinstance(start, SavedState):
        return None
    plan = ExecutionPlan(**dict(start.checkpoint.execution))
    if config.precision not in ("auto", plan.precision):
        return None
    if config.compile not in ("auto", plan.compile):
        return None
    if plan.device != resolve_device(config.device):
        return None
    return plan


def first_state(network: SegmentationNetwork, context: StepContext, start: Start) -> TrainState:
    """Everything that changes, before the first step.

    Raises:
        CheckpointError: The state that is resumed does not fit.
    """
    state = TrainState.fresh(network, context.config, context.plan)
    torch.manual_seed(context.setup.config.experiment.seed)
    if isinstance(start, SavedState):
        restore(state, start, num_steps=context.setup.sampler.num_steps)
    return state


def restore(
    state: TrainState, start: SavedState, *, num_steps: int, averaged_since: int = 0
) -> None:
    """Bring back a saved state.

    Args:
        state: A fresh state of the same network.
        start: What is resumed.
        num_steps: Steps of an epoch.
        averaged_since: Epochs that were done when the average was begun.

    Raises:
        CheckpointError: It does not fit.
    """
    checkpoint = start.checkpoint
    require_fitting(checkpoint.weights, state.network, start.path)
    _require_same_heads(state, start)
    shapes_of = partial(state_shapes, state.optimizer)
    require_fitting_optimizer(start.training["optimizer"], state.optimizer, shapes_of, start.path)
    try:
        state.restore(
            checkpoint.weights,
            checkpoint.epoch,
            start.training,
            num_steps=num_steps,
            averaged_since=averaged_since,
        )
    except RuntimeError as error:
        # Only PyTorch knows which bytes are the state of a random generator.
        raise CheckpointError(
            f"{start.path}: its training state does not fit ({str(error).splitlines()[0]})",
            hint="Resume from a checkpoint_epochNNN.pt beside it, if there is one.",
        ) from None
    if state.step > num_steps:
        raise CheckpointError(
            f"{start.path}: stands at step {state.step} of an epoch that now has {num_steps}",
            hint="Resume with the data and batch_size that the run was started with.",
        )


def adopt_best(state: TrainState, start: SavedState, recorder: RunRecorder) -> None:
    """Take over the best model beside a state; without it, the best counts anew from here."""
    expected = state.best
    if expected is None or not recorder.config.training.checkpoint.keep_best:
        return
    source = RunFolder(start.path.parent).best
    model = _read_model(source)
    state.best = _record_of(model, state.history)
    # A kill between the best model and the state leaves the model of the epoch that is about to be
    # repeated.
    is_ahead = model is not None and model.epoch == state.epoch + 1
    if model is None or (state.best is None and not is_ahead):
        text = f"{source}: the best model, of epoch {expected.epoch}, is not there any more"
        recorder.report(WarningIssued(text))
    elif state.best is not None and source.parent.resolve() != recorder.folder.path.resolve():
        save_checkpoint(model, recorder.folder.best)


def _record_of(model: Checkpoint | None, history: Sequence[EpochRecord]) -> EpochRecord | None:
    """The line of the epoch that a model is of."""
    for record in history:
        if model is not None and record.epoch == model.epoch:
            return record
    return None


def start_sentence(state: TrainState, start: Start, config: RunConfig) -> str:
    """What a training begins from, in words; empty for a fresh start."""
    if start is None:
        return ""
    if not isinstance(start, SavedState):
        return f"starting from the authors' weights in {start.path}"
    sentence = f"resumed from {start.path} after epoch {state.epoch}"
    if state.step:
        sentence += f", step {state.step}"
    return sentence + changes_since(start, config)


def changes_since(start: SavedState, config: RunConfig) -> str:
    """The settings that differ from those that a state was saved with, in words; or nothing."""
    changed = _changed_settings(start.checkpoint.config.root, config.model_dump(mode="json"))
    if not changed:
        return ""
    return f", with {', '.join(changed)}"


def _read_model(path: Path) -> Checkpoint | None:
    """A model that was kept; None if there is no such file, or it cannot be read."""
    try:
        return load_checkpoint(path)
    except CheckpointError:
        return None


def _require_training(start: SavedState) -> None:
    if start.is_of_pruning:
        raise CheckpointError(
            f"{start.path}: is the state of a pruning, which no training can go on from",
            hint=f"Go on with the pruning, or train the network that it has found: {PRUNED_CONFIG}",
        )


def _require_same_card(setup: Setup, start: SavedState) -> None:
    """A resumed training must be of the same network, labels and preprocessing."""
    ours, theirs = setup.card.to_dict(), start.checkpoint.card.to_dict()
    for part, value in ours.items():
        if theirs[part] != value:
            difference = _first_difference(theirs[part], value)
            raise CheckpointError(
                f"{start.path}: its {part} differs from the configuration's: {difference}",
                hint=f"Resume with the configuration of that run: {_SETTINGS}.",
            )


def _require_same_heads(state: TrainState, start: SavedState) -> None:
    """A resumed training must supervise the same steps of the decoder."""
    expected, found = state.learner.heads.state_dict(), start.training["heads"]
    shapes = [{name: tensor.shape for name, tensor in heads.items()} for heads in (expected, found)]
    if shapes[0] == shapes[1]:
        return
    has, lacks = "with", "without"
    if not found:
        has, lacks = lacks, has
    raise CheckpointError(
        f"{start.path}: was trained {has} deep supervision, or with other heads than this network "
        f"has, and cannot go on {lacks}",
        hint=f"Set training.deep_supervision={str(bool(found)).lower()}, as that run had it.",
    )


def require_same_sides(setup: Setup, checkpoint: Path) -> None:
    """Raise if a case that a network was trained on would validate it from now on.

    Args:
        setup: What configuration and data decide.
        checkpoint: The file that holds the network, in its run folder.

    Raises:
        CheckpointError: With the number of cases, and one of them.
    """
    manifest = RunFolder(checkpoint.parent).read_manifest()
    if manifest is None:
        return
    trained_on = set(manifest.split.train)
    mixed = [case.case_id for case in setup.split.val if case.case_id in trained_on]
    if mixed:
        number = plural(len(mixed), "case")
        raise CheckpointError(
            f"{checkpoint}: was trained on {number} that would validate it now, such as {mixed[0]}",
            hint=f"Resume with the data, the split and the seed of that run: {_SETTINGS}.",
        )


def _require_same_teacher(setup: Setup, checkpoint: Path) -> None:
    """Raise if a network would learn from another teacher from now on.

    Raises:
        CheckpointError: With what differs.
    """
    manifest = RunFolder(checkpoint.parent).read_manifest()
    if manifest is None:
        return
    before, now = _files_of(manifest.teacher), _files_of(setup.recorded_teacher())
    if list(before.values()) == list(now.values()):
        return
    change = f"{', '.join(before) or 'none'} there, {', '.join(now) or 'none'} here"
    if list(before) == list(now):
        change = f"the content of {', '.join(now)} has changed since"
    raise CheckpointError(
        f"{checkpoint}: learned from another teacher: {change}",
        hint="Resume with the teacher that the run began with, or begin another run.",
    )


def _files_of(teacher: RecordedTeacher | None) -> dict[str, str]:
    """Checksums of the files of a teacher, by their paths."""
    if teacher is None:
        return {}
    return {file.path: file.sha256 for file in teacher.files}


def _changed_settings(
    theirs: Mapping[str, JsonValue], ours: Mapping[str, JsonValue], prefix: str = ""
) -> list[str]:
    """Say for each setting that differs what it was and what it is."""
    changed: list[str] = []
    for key, value in ours.items():
        before = theirs.get(key)
        if isinstance(value, dict) and isinstance(before, dict):
            changed += _changed_settings(before, value, f"{prefix}{key}.")
        elif value != before:
            changed.append(f"{prefix}{key} {value} (was {before})")
    return changed


def _first_difference(theirs: object, ours: object) -> str:
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for key in {**theirs, **ours}:
            if theirs.get(key) != ours.get(key):
                return f"{key} {theirs.get(key)} there, {ours.get(key)} here"
    return f"{theirs} there, {ours} here"
