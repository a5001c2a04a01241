"""What a pruning goes on from: its own newest state, where nothing it follows from has changed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from lunet_cli.config.layers import widths_of
from lunet_cli.config.pruning import phase_of
from lunet_cli.config.run import RunConfig
from lunet_cli.engine.checkpoints.checkpoint import ModelCard
from lunet_cli.engine.run_folder import RunFolder
from lunet_cli.engine.training.setup import Setup
from lunet_cli.engine.training.start import PRUNING, SavedState, find_resume_source, read_start
from lunet_cli.errors import CheckpointError, ConfigError
from lunet_cli.records.pruning import PruningState
from lunet_cli.records.record import parse_record

# What may change when a pruning goes on: how long it lasts, and what is kept. Not `margin`: of the
# steps that are done, only the network that it has chosen is there.
_MAY_CHANGE = ("steps", "min_parameters", "min_flops", "patience", "save_every")


def read_saved(resume: str | None, folder: RunFolder) -> SavedState | None:
    """The state that a pruning goes on from; None where it begins.

    Args:
        resume: `auto`, the run folder or its newest state; None begins anew.
        folder: The run folder.

    Raises:
        CheckpointError: It is of a training, or of another folder.
        OutputError: A pruning that begins would overwrite something.
    """
    if resume is not None and folder.is_used and not folder.last.exists():
        raise CheckpointError(
            f"{folder.last}: there is no such state to go on from",
            hint="Put it back, or begin another pruning under another `experiment.name`.",
        )
    path = find_resume_source(resume, folder)
    if path is None:
        return None
    if path.resolve() != folder.last.resolve():
        raise CheckpointError(
            f"{path}: a pruning goes on in its own folder, from {folder.last.name}",
            hint="Go on with `resume=auto` and the name that it was begun with.",
        )
    start = read_start(path)
    if not isinstance(start, SavedState) or not start.is_of_pruning:
        raise CheckpointError(
            f"{path}: is the state of a training, which no pruning can go on from",
            hint="Begin a pruning with its best model: `prune(RUN)`.",
        )
    return start


def require_work_left(saved: SavedState | None, folder: RunFolder, config: RunConfig) -> None:
    """Raise if all steps are done, and the end of the pruning too.

    Raises:
        ConfigError: It is so.
    """
    if saved is None:
        return
    done = len(state_of(saved).steps) - 1
    if done >= config.pruning.steps and folder.has_ended(saved.checkpoint.epoch):
        raise ConfigError(
            f"pruning.steps: {config.pruning.steps}, and {folder.path} has done {done} already",
            hint=f"To go on, raise it: `pruning.steps={2 * max(1, done)}`",
        )


def state_of(saved: SavedState) -> PruningState:
    """The steps that are done, and the one that is not.

    Raises:
        CheckpointError: They are damaged.
    """
    text = saved.training[PRUNING]
    if not isinstance(text, str):
        raise CheckpointError(
            f"{saved.path}: pruning is a {type(text).__name__}, not {PruningState.what}"
        )
    return parse_record(
        PruningState, text.encode(), f"{saved.path}: pruning", error=CheckpointError
    )


def require_same_rules(ours: RunConfig, theirs: RunConfig, saved: SavedState) -> None:
    """Raise if what the steps follow from has changed since a pruning was begun."""
    for name in ("widths", "drop_prob"):
        _require_same(
            f"model.{name}", getattr(ours.model, name), getattr(theirs.model, name), saved
        )
    for name, value in ours.pruning.model_dump().items():
        if name not in _MAY_CHANGE:
            _require_same(f"pruning.{name}", value, getattr(theirs.pruning, name), saved)


def _require_same(name: str, ours: object, theirs: object, saved: SavedState) -> None:
    if ours != theirs:
        raise ConfigError(
            f"{name}: {ours}, and {saved.path} was begun with {theirs}",
            hint="Go on with the same value, or begin another pruning under another "
            "`experiment.name`.",
        )


def require_fitting_state(state: PruningState, setup: Setup, saved: SavedState) -> None:
    """Raise if a pruning cannot go on from where it says that it is.

    Raises:
        CheckpointError: Its state is not of this network and this epoch, the cases that validate
            are others now, or the network that is chosen so far is gone.
    """
    if not _fits_checkpoint(state, setup, saved):
        raise CheckpointError(
            f"{saved.path}: pruning stands at step {len(state.steps)}, which the network or the "
            f"epoch {saved.checkpoint.epoch} does not fit",
            hint="The file is damaged; begin another pruning under another `experiment.name`.",
        )
    if not state.steps:
        return
    if state.steps[0].dice_per_case.keys() != {case.case_id for case in setup.split.val}:
        raise CheckpointError(
            f"{saved.path}: was validated on other cases than those that validate it now",
            hint="Go on with the data, the split and the seed that it was begun with.",
        )
    best = RunFolder(saved.path.parent).best
    if not best.is_file():
        raise CheckpointError(
            f"{best}: the network that is chosen so far is not there any more",
            hint="Put it back, or begin another pruning under another `experiment.name`.",
        )


def _fits_checkpoint(state: PruningState, setup: Setup, saved: SavedState) -> bool:
    """Whether the steps are those of the network and of the epochs beside them."""
    phase = phase_of(len(state.steps), setup.config.pruning)
    last = phase.stop
    newest = state.current
    if newest is None and state.steps:
        # Between two steps.
        last, newest = phase.start, state.steps[-1]
    if newest is not None and newest.widths != widths_of(saved.checkpoint.card.network):
        return False
    return phase.start <= saved.checkpoint.epoch <= last


def require_same_use(ours: ModelCard, theirs: ModelCard, path: Path) -> None:
    """Raise if a network is another one but for its widths and dropouts, or is used differently."""
    expected, found = _comparable(ours), _comparable(theirs)
    for part, value in expected.items():
        if found[part] != value:
            raise CheckpointError(
                f"{path}: its {part} is not that of the configuration: {found[part]} there, "
                f"{value} here",
                hint="Prune a run with its own configuration: `prune(RUN)`.",
            )


def _comparable(card: ModelCard) -> dict[str, object]:
    plain = replace(card.network, widths=(), dropouts=(), dropout=0.0)
    values = replace(card, network=plain).to_dict()
    network = values.pop("network")
    assert isinstance(network, dict)
    return {f"network's {name}": value for name, value in network.items()} | values
