"""What a pruning begins or goes on with, all checked before anything is written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from lunet_cli.config.network import NetworkSpec
from lunet_cli.config.pruning import PruningConfig
from lunet_cli.config.run import RunConfig
from lunet_cli.engine.checkpoints.checkpoint import ModelCard
from lunet_cli.engine.checkpoints.models import load_model
from lunet_cli.engine.networks import build_network
from lunet_cli.engine.networks.blocks import SegmentationNetwork
from lunet_cli.engine.networks.execution import ExecutionPlan
from lunet_cli.engine.pruning.progress import STATE_KEY, Progress, phase_of
from lunet_cli.engine.pruning.pruner import count_removable, criterion_of
from lunet_cli.engine.run_folder import RunFolder
from lunet_cli.engine.training.loop import StepContext
from lunet_cli.engine.training.resumption import kept_plan, require_same_sides, restore
from lunet_cli.engine.training.setup import Setup, set_up
from lunet_cli.engine.training.start import SavedState, find_resume_source, read_start
from lunet_cli.engine.training.state import TrainState
from lunet_cli.engine.training.verification import choose_plan
from lunet_cli.errors import CheckpointError, ConfigError
from lunet_cli.records.pruning import PruningState
from lunet_cli.records.record import parse_record
from lunet_cli.results.events import Event
from lunet_cli.results.training import PlanChosen
from lunet_cli.results.words import plural

# What may change when a pruning goes on: how long it lasts, and what is kept. Not what is chosen:
# of the steps that are done, only the network that was chosen is there still.
_MAY_CHANGE = ("steps", "min_parameters", "min_flops", "patience", "save_every")


@dataclass(frozen=True, kw_only=True)
class Beginning:
    """A pruning before its first step in this session.

    Args:
        context: What is fixed.
        progress: How far it is.
        chosen_plan: How it computes, and why.
        sentences: What else there is to tell.
    """

    context: StepContext
    progress: Progress
    chosen_plan: PlanChosen
    sentences: tuple[str, ...]

    @property
    def num_parameters(self) -> int:
        """Those of the network before the first step."""
        steps = self.progress.steps
        if steps:
            return steps[0].parameters
        return sum(value.numel() for value in self.progress.train.network.parameters())


def read_saved(resume: str | None, folder: RunFolder) -> SavedState | None:
    """The state that a pruning goes on from; None where it begins.

    Args:
        resume: `auto`, the run folder or its newest state; None begins anew.
        folder: The run folder.

    Raises:
        CheckpointError: It is of a training, or of another folder.
        OutputError: A pruning that begins would overwrite something.
    """
    path = find_resume_source(resume, folder)
    if path is None:
        return None
    if path.resolve() != folder.last.resolve():
        raise CheckpointError(
            f"{path}: a pruning goes on in its own folder, from {folder.last.name}",
            hint="Go on with `resume=auto` and the name that it was begun with.",
        )
    start = read_start(path)
    if not isinstance(start, SavedState) or STATE_KEY not in start.training:
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
    done = len(_state_of(saved).steps) - 1
    if done >= config.pruning.steps and folder.has_ended(saved.checkpoint.epoch):
        raise ConfigError(
            f"pruning.steps: {config.pruning.steps}, and {folder.path} has done {done} already",
            hint=f"To go on, raise it: `pruning.steps={2 * max(1, done)}`",
        )


def begin(
    config: RunConfig,
    start: Path | None,
    saved: SavedState | None,
    on_event: Callable[[Event], None],
) -> Beginning:
    """Read the data and the network, and check that they fit each other and the section `pruning`.

    Args:
        config: The configuration.
        start: The trained network to begin with; not asked where a state is gone on from.
        saved: The state to go on from.
        on_event: Called with what happens.

    Raises:
        LunetError: Something does not fit.
    """
    if config.training.num_threads is not None:
        torch.set_num_threads(config.training.num_threads)
    setup = set_up(config, on_event)
    if saved is not None:
        return _go_on(setup, saved, on_event)
    network, sentence = _first_network(setup, start)
    _require_possible(setup, network.spec)
    setup = _with_network(setup, network.spec)
    plan, chosen = choose_plan(config.training, network, setup.first_batch, setup.loss, on_event)
    context = StepContext(setup, _eager(plan))
    train = TrainState.fresh(network, config.training, context.plan)
    torch.manual_seed(config.experiment.seed)
    return Beginning(
        context=context,
        progress=Progress(train=train),
        chosen_plan=replace(chosen, name=str(context.plan)),
        sentences=(sentence, *_told_of_compiling(plan)),
    )


def _go_on(setup: Setup, saved: SavedState, on_event: Callable[[Event], None]) -> Beginning:
    checkpoint, config = saved.checkpoint, setup.config
    _require_same_use(setup.card, checkpoint.card, saved.path)
    _require_same_rules(config.pruning, checkpoint.config.resolve(str(saved.path)).pruning, saved)
    require_same_sides(setup, saved.path)
    state = _state_of(saved)
    network = build_network(checkpoint.card.network)
    setup = _with_network(setup, checkpoint.card.network)
    plan = kept_plan(saved, config.training)
    chosen = PlanChosen(str(plan), "as this run began")
    if plan is None:
        plan, chosen = choose_plan(
            config.training, network, setup.first_batch, setup.loss, on_event
        )
    context = StepContext(setup, _eager(plan))
    progress = Progress(
        train=TrainState.fresh(network, config.training, context.plan),
        steps=list(state.steps),
        current=state.current,
    )
    setup.sampler.max_steps = progress.max_steps(config.pruning)
    averaged_since = phase_of(len(state.steps), config.pruning).start
    if not progress.is_recovering:
        averaged_since = phase_of(len(state.steps) - 1, config.pruning).start
    restore(progress.train, saved, num_steps=len(setup.sampler), averaged_since=averaged_since)
    sentence = f"resumed from {saved.path} after {plural(len(state.steps), 'step')}"
    return Beginning(context=context, progress=progress, chosen_plan=chosen, sentences=(sentence,))


def _first_network(setup: Setup, start: Path | None) -> tuple[SegmentationNetwork, str]:
    """The network before the first step, and where it comes from in words.

    Raises:
        CheckpointError: The network that was trained is another one, or for other data.
    """
    if start is None:
        return setup.new_network(), "starting with the network as its seed draws it"
    model = load_model(start)
    if not isinstance(model.network, SegmentationNetwork):
        raise CheckpointError(
            f"{model.path}: is a graph, whose channels are fixed",
            hint="Prune the run that it was exported from.",
        )
    _require_same_use(setup.card, model.card, model.path)
    require_same_sides(setup, model.path)
    # Its layers may have widths of their own, and the dropout is that of the configuration.
    network = build_network(replace(setup.card.network, widths=model.card.network.widths))
    network.load_state_dict(model.network.state_dict())
    return network, f"starting with {model.path}"


def _require_same_use(ours: ModelCard, theirs: ModelCard, path: Path) -> None:
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


def _require_same_rules(ours: PruningConfig, theirs: PruningConfig, saved: SavedState) -> None:
    """Raise if what the steps follow from has changed since a pruning was begun."""
    for name, value in ours.model_dump().items():
        before = getattr(theirs, name)
        if name not in _MAY_CHANGE and value != before:
            raise ConfigError(
                f"pruning.{name}: {value}, and {saved.path} was begun with {before}",
                hint="Go on with the same value, or begin another pruning under another "
                "experiment.name.",
            )


def _require_possible(setup: Setup, spec: NetworkSpec) -> None:
    """Raise if the section `pruning` asks for what network or data cannot give."""
    config = setup.config.pruning
    require_channels_to_spare(spec, config)
    criterion, num_batches = criterion_of(config), len(setup.sampler)
    if criterion != "random" and (config.scoring_batches or 0) > num_batches:
        raise ConfigError(
            f"pruning.scoring_batches: {config.scoring_batches} is more than the "
            f"{plural(num_batches, 'batch', 'batches')} of an epoch",
            hint="Leave it out to score on all of them.",
        )


def require_channels_to_spare(spec: NetworkSpec, config: PruningConfig) -> None:
    """Raise if a network has fewer channels that can be removed than a step takes.

    Raises:
        ConfigError: With their number.
    """
    spare = count_removable(spec, config)
    if config.strategy == "none":
        return
    if spare == 0:
        raise ConfigError(
            "this network has nothing to remove: each layer has its last channel, or is protected",
            hint="Prune a wider network, or protect less: `pruning.protect=[]`",
        )
    if config.channels_per_step > spare:
        raise ConfigError(
            f"pruning.channels_per_step: {config.channels_per_step} is more than the "
            f"{plural(spare, 'channel')} that can be removed",
            hint="Each layer keeps one; layers of pruning.protect keep all.",
        )


def _with_network(setup: Setup, spec: NetworkSpec) -> Setup:
    return replace(setup, card=replace(setup.card, network=spec))


def _eager(plan: ExecutionPlan) -> ExecutionPlan:
    """The plan without compilation: the network is another one in each step."""
    return replace(plan, compile=False)


def _told_of_compiling(plan: ExecutionPlan) -> tuple[str, ...]:
    if not plan.compile:
        return ()
    return ("`training.compile` is left out: each step has another network",)


def _state_of(saved: SavedState) -> PruningState:
    text = str(saved.training[STATE_KEY])
    return parse_record(
        PruningState, text.encode(), f"{saved.path}: pruning", error=CheckpointError
    )
