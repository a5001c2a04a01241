"""What a pruning begins or goes on with, all checked before anything is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from lunet_cli.config.layers import layers, widths_of
from lunet_cli.config.network import NetworkSpec
from lunet_cli.config.network_cost import count_conv_flops, count_parameters
from lunet_cli.config.pruning import PruningConfig, phase_of
from lunet_cli.config.run import RunConfig
from lunet_cli.engine.checkpoints.models import load_model
from lunet_cli.engine.networks import build_network
from lunet_cli.engine.networks.blocks import SegmentationNetwork
from lunet_cli.engine.networks.execution import ExecutionPlan
from lunet_cli.engine.pruning.progress import Progress
from lunet_cli.engine.pruning.pruner import count_removable, criterion_of
from lunet_cli.engine.pruning.resumption import (
    require_fitting_state,
    require_same_rules,
    require_same_use,
    state_of,
)
from lunet_cli.engine.pruning.scoring import require_samples
from lunet_cli.engine.training.context import StepContext
from lunet_cli.engine.training.resumption import (
    changes_since,
    kept_plan,
    require_same_sides,
    restore,
)
from lunet_cli.engine.training.setup import Setup, set_up
from lunet_cli.engine.training.start import SavedState
from lunet_cli.engine.training.state import TrainState
from lunet_cli.engine.training.verification import choose_plan
from lunet_cli.errors import CheckpointError, ConfigError
from lunet_cli.records.pruning import PruningState
from lunet_cli.results.events import Event, Notice
from lunet_cli.results.training import PlanChosen
from lunet_cli.results.words import plural


@dataclass(frozen=True, kw_only=True)
class Beginning:
    """A pruning before its first step in this session.

    Args:
        context: What is fixed.
        progress: How far it is.
        chosen_plan: How it computes, and why.
        sentences: What else there is to tell.
        is_resumed: Whether it goes on from a state.
    """

    context: StepContext
    progress: Progress
    chosen_plan: PlanChosen
    sentences: tuple[str, ...]
    is_resumed: bool = False

    @property
    def num_parameters(self) -> int:
        """Those of the network before the first step."""
        steps = self.progress.steps
        if steps:
            return steps[0].parameters
        return sum(value.numel() for value in self.progress.train.network.parameters())


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
    if config.distillation.teacher:
        text = "distillation: left out, since a pruning learns from the network before it"
        on_event(Notice(f"{text} (`pruning.distillation`)"))
    config = config.without_teacher
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
        sentences=(sentence, *_told_of_what_is_left_out(config, plan)),
    )


def _go_on(setup: Setup, saved: SavedState, on_event: Callable[[Event], None]) -> Beginning:
    checkpoint, config = saved.checkpoint, setup.config
    require_same_use(setup.card, checkpoint.card, saved.path)
    require_same_rules(config, checkpoint.config.resolve(str(saved.path)), saved)
    require_same_sides(setup, saved.path)
    state = state_of(saved)
    require_fitting_state(state, setup, saved)
    network = build_network(checkpoint.card.network)
    setup = _with_network(setup, _unpruned(checkpoint.card.network, state))
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
    restore(progress.train, saved, num_steps=setup.sampler.num_steps, averaged_since=averaged_since)
    place = "in the warm-up"
    if state.steps:
        place = f"after step {len(state.steps) - 1}"
    sentence = f"resumed from {saved.path} {place}{changes_since(saved, config)}"
    return Beginning(
        context=context,
        progress=progress,
        chosen_plan=chosen,
        sentences=(sentence,),
        is_resumed=True,
    )


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
    require_same_use(setup.card, model.card, model.path)
    require_same_sides(setup, model.path)
    # Its layers may have widths of their own, and the dropout is that of the configuration.
    spec = replace(setup.card.network, widths=model.card.network.widths)
    if setup.config.model.widths is not None and layers(spec) != layers(setup.card.network):
        raise CheckpointError(
            f"{model.path}: its layers do not have the widths of `model.widths`",
            hint="Leave out `model.widths`: a pruning begins with those of the network.",
        )
    network = build_network(spec)
    network.load_state_dict(model.network.state_dict())
    return network, f"starting with {model.path}"


def _require_possible(setup: Setup, spec: NetworkSpec) -> None:
    """Raise if the section `pruning` asks for what network or data cannot give."""
    config = setup.config.pruning
    require_channels_to_spare(spec, config)
    _require_samples(setup)
    criterion, num_batches = criterion_of(config), len(setup.sampler)
    if criterion != "random" and (config.scoring_batches or 0) > num_batches:
        raise ConfigError(
            f"pruning.scoring_batches: {config.scoring_batches} is more than the "
            f"{plural(num_batches, 'batch', 'batches')} of an epoch",
            hint="Leave it out to score on all of them.",
        )


def require_channels_to_spare(spec: NetworkSpec, config: PruningConfig) -> None:
    """Raise if a network has nothing that may be removed, or fewer channels than a step takes.

    Raises:
        ConfigError: With their number.
    """
    spare = count_removable(spec, config)
    if config.strategy == "none":
        return
    _require_more_than_least(spec, config)
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


def _require_more_than_least(spec: NetworkSpec, config: PruningConfig) -> None:
    for name, least, count in (
        ("min_parameters", config.min_parameters, count_parameters),
        ("min_flops", config.min_flops, count_conv_flops),
    ):
        if least is not None and least >= count(spec):
            raise ConfigError(
                f"pruning.{name}: {least:,}, and the network has {count(spec):,} before the first "
                "step",
                hint="Name fewer, or leave it out.",
            )


def _require_samples(setup: Setup) -> None:
    """Raise if channels would be scored on fewer patches than the criterion needs."""
    config, training = setup.config.pruning, setup.config.training
    number = len(setup.train) * training.patches_per_case
    if config.scoring_batches is not None:
        number = min(number, config.scoring_batches * training.batch_size)
    require_samples(number, criterion_of(config))


def _unpruned(spec: NetworkSpec, state: PruningState) -> NetworkSpec:
    """The network before the first step."""
    whole = replace(spec, dropouts=())
    if not state.steps:
        return whole
    as_family = replace(whole, widths=())
    widths = state.steps[0].widths
    if widths_of(as_family) == widths:
        return as_family
    return replace(whole, widths=tuple(widths.values()))


def _with_network(setup: Setup, spec: NetworkSpec) -> Setup:
    return replace(setup, card=replace(setup.card, network=spec))


def _eager(plan: ExecutionPlan) -> ExecutionPlan:
    """The plan without compilation: the network is another one in each step."""
    return replace(plan, compile=False)


def _told_of_what_is_left_out(config: RunConfig, plan: ExecutionPlan) -> Iterator[str]:
    """What the configuration asks of a training, and no pruning does."""
    if plan.compile:
        yield "`training.compile` is left out: each step has another network"
    pictures = config.visualization
    if pictures.plot_slices or pictures.plot_training_curves:
        yield "pictures are left out: `lunet prune show` and `report(RUN)` have those of a pruning"
    for name in ("wandb", "tensorboard", "mlflow"):
        if getattr(config, name).enabled:
            yield f"`{name}.enabled` is left out: a pruning is kept in its run folder alone"
    if config.training.early_stopping_patience is not None:
        yield "`training.early_stopping_patience` is left out: see `pruning.patience`"
