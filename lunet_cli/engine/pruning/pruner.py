"""The steps of a pruning: score, remove, validate, recover, validate."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from lunet_cli.config.layers import Layer, layers, widths_of, with_layers
from lunet_cli.config.network import NetworkSpec
from lunet_cli.config.network_cost import count_conv_flops, count_parameters
from lunet_cli.config.pruning import Criterion, PruningConfig
from lunet_cli.engine.checkpoints.checkpoint import load_checkpoint
from lunet_cli.engine.data.patches import batches
from lunet_cli.engine.evaluation.pruned_steps import chosen_step
from lunet_cli.engine.networks import network_of_weights
from lunet_cli.engine.networks.blocks import SegmentationNetwork
from lunet_cli.engine.pruning.choice import (
    Choice,
    choose_channels,
    generator_of_step,
    normalize,
    protected_layers,
    targeted_dropouts,
)
from lunet_cli.engine.pruning.constants import keep_constants
from lunet_cli.engine.pruning.progress import Progress
from lunet_cli.engine.pruning.recorder import PruningRecorder
from lunet_cli.engine.pruning.scoring import score_channels
from lunet_cli.engine.pruning.surgery import remove_channels, with_dropouts
from lunet_cli.engine.training.context import StepContext
from lunet_cli.engine.training.distillation import Teacher
from lunet_cli.engine.training.gradients import Gradients
from lunet_cli.engine.training.interrupts import InterruptGuard, InterruptRequested
from lunet_cli.engine.training.loop import Validation, epoch_record, train_epoch, validate
from lunet_cli.engine.training.pace import Pace
from lunet_cli.results.pruning import ChannelsRemoved, PruningStep, RemovedChannel
from lunet_cli.results.training import EpochDone
from lunet_cli.results.words import plural


class Pruner:
    """A pruning as it runs.

    Args:
        context: What is fixed before the first step.
        progress: How far the pruning is; it changes.
        recorder: Writes and tells.
        guard: Tells of signals.
    """

    def __init__(
        self,
        context: StepContext,
        progress: Progress,
        recorder: PruningRecorder,
        guard: InterruptGuard,
    ) -> None:
        self.progress = progress
        self.stop_reason, self.stopped_early = "", False
        self._base = context
        self._recorder = recorder
        self._guard = guard
        self._config = context.setup.config.pruning
        self._pace, self._epoch_pace = Pace(1), Pace(1)
        self._teacher: Teacher | None = None

    def run(self) -> None:
        """Go on until a rule ends it.

        `stop_reason` tells which rule, `stopped_early` whether that was before all steps were done.

        Raises:
            InterruptRequested: On a signal; the state is saved.
        """
        try:
            while not self._has_ended():
                self._advance()
                self._guard.check()
        except InterruptRequested:
            self.progress.train.require_finite()
            self._recorder.save(self.progress, self._context())
            raise

    def _advance(self) -> None:
        """Bring the running step to its end; before it, choose and remove its channels."""
        start = time.perf_counter()
        progress = self.progress
        if not progress.is_recovering and not self._cut():
            return
        try:
            validation = self._recover() or self._validate()
        except InterruptRequested:
            if progress.current is not None:
                so_far = progress.current.seconds + time.perf_counter() - start
                progress.current = replace(progress.current, seconds=so_far)
            raise
        progress.steps.append(self._ended_step(validation, time.perf_counter() - start))
        progress.current = None
        self._pace.note(time.perf_counter() - start, 1)
        is_chosen = chosen_by(self._config, progress.steps) is progress.steps[-1]
        self._recorder.finish_step(
            progress,
            self._context(),
            is_chosen=is_chosen,
            seconds_left=self._pace.seconds_left(self._num_steps_left),
        )

    @property
    def _num_steps_left(self) -> int:
        return max(0, self._config.steps + 1 - len(self.progress.steps))

    def _has_ended(self) -> bool:
        """Whether a rule ends the pruning between two steps."""
        steps, patience = self.progress.steps, self._config.patience
        if self.stop_reason:
            return True
        if self.progress.is_recovering:
            return False
        if self._num_steps_left == 0:
            self.stop_reason = f"all {plural(self._config.steps, 'step')} are done"
        elif patience is not None:
            chosen = chosen_by(self._config, steps)
            if chosen is not None and steps[-1].step - chosen.step >= patience:
                self._stop_early(
                    f"{plural(patience, 'step')} in a row lost more than a Dice of "
                    f"{self._config.margin:g}"
                )
        return bool(self.stop_reason)

    def _stop_early(self, reason: str) -> None:
        self.stop_reason, self.stopped_early = reason, True

    def _context(self) -> StepContext:
        """What is fixed in this step: the network as it is now, its epochs, its teacher."""
        setup, config = self._base.setup, self._config
        card = replace(setup.card, network=self.progress.train.network.spec)
        context = replace(
            self._base,
            setup=replace(setup, card=card),
            phase=self.progress.phase(config) or None,
        )
        if self.progress.current is None:  # The warm-up is a training as any other.
            return context
        if config.distillation > 0:
            context = replace(context, teacher=self._unpruned_teacher())
        factor = 1.0
        if config.learning_rate is not None:
            factor = config.learning_rate / context.config.learning_rate
        return replace(context, rate_factor=factor, scheduler=config.scheduler)

    def _unpruned_teacher(self) -> Teacher:
        if self._teacher is None:
            checkpoint = load_checkpoint(self._recorder.folder.kept_step(0))
            network = network_of_weights(checkpoint.card.network, checkpoint.weights)
            weight = self._config.distillation
            plan, labels = self._base.plan, self._base.labels
            self._teacher = Teacher.of(network, plan, labels.activation, weight=weight)
        return self._teacher

    def _cut(self) -> bool:
        """Remove the channels of the next step; return whether there is one."""
        state, number = self.progress.train, len(self.progress.steps)
        # Where weights are averaged, the average is what was validated and what goes on.
        whole = state.validated_network
        before = layers(whole.spec)
        scores = self._scores(before, number)
        num_removable = count_removable(whole.spec, self._config)
        choices = choose_channels(
            scores,
            before,
            strategy=self._config.strategy,
            count=channels_of_step(self._config, num_removable),
            protected=protected_of(whole.spec, self._config),
            generator=generator_of_step(self._seed, number),
        )
        if not choices and self._config.strategy != "none":
            self._stop_early("no layer has a channel to spare any more")
            return False
        network = self._without(choices, scores)
        if not self._is_large_enough(network.spec):
            return False
        cut = state.begin_again(network, self._base.config, self._base.plan)
        validation = validate(cut.validated_network, self._base, self._guard)
        # Only now, so that a signal in between leaves the state before the step.
        self.progress.train = cut
        self.progress.current = replace(
            _begun_step(number, network.spec),
            removed=tuple(self._removed(choice) for choice in choices),
            val_loss_before=validation.loss,
            val_dice_before=validation.mean_dice,
        )
        self._tell_removal(self.progress.current)
        return True

    def _scores(self, before: tuple[Layer, ...], number: int) -> dict[str, Tensor]:
        """What each channel is worth, comparable over layers."""
        config, setup, plan = self._config, self._base.setup, self._base.plan

        def loss(logits: Tensor, label: Tensor) -> Tensor:
            labels = setup.card.labels
            return setup.loss(logits, labels.encode(label), labels.known(label))

        sampler = setup.sampler
        sampler.epoch, sampler.first_step = self.progress.train.epoch, 0
        sampler.max_steps = None
        scores = score_channels(
            self.progress.train.validated_network,
            before,
            (
                batch[:2]
                for batch in itertools.islice(batches(setup.loader), config.scoring_batches)
            ),
            plan=plan,
            loss=loss,
            criterion=criterion_of(config),
            generator=generator_of_step(self._seed, number),
            check=self._guard.check,
        )
        return normalize(scores, config.normalization)

    def _removed(self, choice: Choice) -> RemovedChannel:
        score = choice.score
        if not asks_for_scores(self._config):
            score = math.nan
        return RemovedChannel(choice.layer, choice.channel, score)

    @property
    def _seed(self) -> int:
        return self._base.setup.config.experiment.seed

    def _without(self, choices: list[Choice], scores: Mapping[str, Tensor]) -> SegmentationNetwork:
        """The network without the chosen channels, its dropout as the scores have it."""
        removed: dict[str, list[int]] = {}
        for choice in choices:
            removed.setdefault(choice.layer, []).append(choice.channel)
        network = self.progress.train.validated_network
        if self._config.keep_constants:
            network = keep_constants(network, removed)
        network = remove_channels(network, removed)
        if self._config.targeted_dropout == 0:
            return network
        left: dict[str, Tensor] = {}
        for name, values in scores.items():
            stays = torch.ones(len(values), dtype=torch.bool)
            stays[removed.get(name, [])] = False
            left[name] = values[stays]
        dropouts = targeted_dropouts(
            left, layers(network.spec), strongest=self._config.targeted_dropout
        )
        return with_dropouts(network, dropouts)

    def _is_large_enough(self, spec: NetworkSpec) -> bool:
        """Whether a network is not below what the configuration wants to keep."""
        for name, least, count in (
            ("parameters", self._config.min_parameters, count_parameters),
            ("FLOPs", self._config.min_flops, count_conv_flops),
        ):
            if least is not None and count(spec) < least:
                self._stop_early(f"the next step would leave {count(spec):,} {name}")
        return not self.stop_reason

    def _tell_removal(self, step: PruningStep) -> None:
        self._recorder.run.report(
            ChannelsRemoved(
                step=step.step,
                num_steps=self._config.steps,
                removed=step.removed,
                widths=step.widths,
                parameters=step.parameters,
                val_dice=step.val_dice_before,
            )
        )

    def _recover(self) -> Validation | None:
        """Train through what is left of the epochs of this step; return the last validation."""
        state, context = self.progress.train, self._context()
        phase = self.progress.phase(self._config)
        context.setup.sampler.max_steps = self.progress.max_steps(self._config)
        gradients = Gradients(state, context)
        validation = None
        while state.epoch < phase.stop:
            start = time.perf_counter()
            try:
                train_epoch(state, gradients, context, self._guard, self._recorder.run.on_step)
                state.require_finite()
                validation = None
                is_last = state.epoch + 1 == phase.stop
                if is_last or (state.epoch + 1) % context.config.validation_interval == 0:
                    validation = self._validate()
            except InterruptRequested:
                state.seconds += time.perf_counter() - start
                raise
            names, seconds = context.labels.names, time.perf_counter() - start
            record = epoch_record(state, validation, names, seconds)
            state.finish_epoch(record)
            if state.epoch < phase.stop:
                self._recorder.save(self.progress, context)
            self._epoch_pace.note(record.epoch_seconds, 1)
            left = self._epoch_pace.seconds_left(phase.stop - state.epoch)
            self._recorder.run.report(EpochDone(record, phase.stop, False, left))
        return validation

    def _validate(self) -> Validation:
        return validate(self.progress.train.validated_network, self._base, self._guard)

    def _ended_step(self, validation: Validation, seconds: float) -> PruningStep:
        """The line of the step that has just recovered, or of the network before the first."""
        begun = self.progress.current or _begun_step(0, self.progress.train.network.spec)
        return replace(
            begun,
            val_loss=validation.loss,
            val_dice=validation.mean_dice,
            seconds=begun.seconds + seconds,
            dice_per_case=validation.mean_dice_per_case,
        )


def protected_of(spec: NetworkSpec, config: PruningConfig) -> frozenset[str]:
    """Names of the layers that keep all channels.

    Raises:
        ConfigError: A pattern of the configuration fits no layer.
    """
    patterns = config.protect
    if patterns is None:
        # Those that STAMP leaves alone; a MedNeXt has none of their kind.
        patterns = ()
        if spec.topology != "mednext":
            patterns = ("upsamples.*", "head.*")
    return protected_layers(layers(spec), patterns)


def count_removable(spec: NetworkSpec, config: PruningConfig) -> int:
    """Channels of a network that can be removed: each layer that is not protected keeps one.

    Raises:
        ConfigError: A pattern of the configuration fits no layer.
    """
    protected = protected_of(spec, config)
    return sum(layer.width - 1 for layer in layers(spec) if layer.name not in protected)


def smallest(spec: NetworkSpec, config: PruningConfig) -> NetworkSpec:
    """The network that has lost all channels that can be removed.

    Raises:
        ConfigError: A pattern of the configuration fits no layer.
    """
    protected = protected_of(spec, config)
    least = {layer.name: 1 for layer in layers(spec) if layer.name not in protected}
    return with_layers(spec, widths=least)


def steps_of(config: PruningConfig, num_removable: int) -> Iterator[int]:
    """Channels that each step takes, until none is left."""
    left = num_removable
    while left > 0:
        taken = min(left, channels_of_step(config, left))
        yield taken
        left -= taken


def channels_of_step(config: PruningConfig, num_removable: int) -> int:
    """Channels that the next step removes, where there are as many."""
    per_step = config.channels_per_step
    if per_step < 1:
        return max(1, round(per_step * num_removable))
    return int(per_step)


def chosen_by(config: PruningConfig, steps: Sequence[PruningStep]) -> PruningStep | None:
    """The step that the section `pruning` chooses of those that have ended."""
    return chosen_step(steps, config.margin, config.reference)


def criterion_of(config: PruningConfig) -> Criterion:
    """What channels are scored by: `random`, which costs nothing, where no score counts."""
    if config.strategy == "largest-l1":
        return "l1"
    if not asks_for_scores(config):
        return "random"
    return config.criterion


def asks_for_scores(config: PruningConfig) -> bool:
    """Whether scores decide about anything: which channels go, or where dropout prepares for it."""
    return config.strategy not in ("random-in-largest", "none") or config.targeted_dropout > 0


def _begun_step(number: int, spec: NetworkSpec) -> PruningStep:
    """The line of a step before anything is measured."""
    return PruningStep(
        step=number,
        removed=(),
        parameters=count_parameters(spec),
        flops=count_conv_flops(spec),
        val_loss_before=math.nan,
        val_dice_before=math.nan,
        val_loss=math.nan,
        val_dice=math.nan,
        seconds=0.0,
        dice_per_case={},
        widths=widths_of(spec),
    )
