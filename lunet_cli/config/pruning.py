"""The `pruning` section: how channels are removed from a network, and when that stops."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from lunet_cli.config.base import Count, Section
from lunet_cli.config.training import Scheduler

Strategy = Literal["stamp", "random-in-layer", "random-in-largest", "largest-l1", "none"]
Criterion = Literal["taylor", "l1", "l2", "l1-std", "random"]
Normalization = Literal["layer-l2", "none"]
Reference = Literal["best", "unpruned"]
# Names of layers are short, and so is what matches them.
LayerPattern = Annotated[str, Field(min_length=1, max_length=100)]

# No network that can be trained has as many channels to remove.
_Channels = Annotated[int, Field(ge=1, le=65536)]
_Share = Annotated[float, Field(gt=0, lt=1)]
_Epochs = Annotated[int, Field(ge=0, le=1_000_000)]


class PruningConfig(Section):
    """How `lunet prune` removes channels, step by step, and lets the network recover."""

    strategy: Strategy = "stamp"
    """Which channel goes in each step. `stamp`: that of the lowest score; `random-in-layer`: a
    random one of the layer of that channel; `random-in-largest`: a random one of the widest layer;
    `largest-l1`: that with the smallest activations in the widest layer; `none`: no channel, as a
    control with the same epochs."""

    criterion: Criterion = "taylor"
    """What the score of a channel is, for the choice of `stamp` and `random-in-layer`, and for
    `targeted_dropout` with any strategy but `largest-l1`, whose scores are `l1`. `taylor`: by how
    much the loss changes without it, to first order; `l1` and `l2`: the norm of its activations;
    `l1-std`: how much that norm differs between patches; `random`: a random number."""

    normalization: Normalization = "layer-l2"
    """What a score is divided by before layers are compared, for `stamp`, `random-in-layer` and
    `targeted_dropout`. `layer-l2`: the L2 norm of the scores of its layer, which makes channels of
    wide layers go first; `none`: nothing."""

    keep_constants: bool = True
    """Whether the constant stays that a channel without activation is behind its batch
    normalisation: what reads it gets it as a bias. STAMP takes it away with the channel, and the
    recovery has to find it again."""

    channels_per_step: _Channels | _Share = 1
    """Channels that are removed in one step; a number below 1 is their share of those that can
    still be removed, and takes at least one."""

    steps: Count = 100
    """Steps of pruning and recovery, if nothing stops it before."""

    warmup_epochs: _Epochs = 0
    """Epochs of training before the first channel is removed."""

    # At most 1,000: together with the most steps, epochs can still be counted and named in files.
    recovery_epochs: Annotated[int, Field(ge=0, le=1000)] = 1
    """Epochs of training after each step, with a fresh optimiser."""

    recovery_batches: Count | None = None
    """Batches in each of these epochs, which begin with other cases each; null takes all of an
    epoch."""

    learning_rate: Annotated[float, Field(gt=0, le=1e30)] | None = None
    """That of the recovery, at the height of its schedule; null takes `training.learning_rate`."""

    scheduler: Scheduler | None = None
    """How the learning rate changes over the epochs of each recovery; null takes
    `training.scheduler`."""

    scoring_batches: Count | None = None
    """Batches of training patches that the scores are taken over; null takes all of an epoch."""

    # b_drop of the paper (Dinsdale et al. 2022).
    targeted_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Highest probability of dropout in a layer after a step: the layer with the lowest scores gets
    it, the others less; 0 leaves dropout as it is."""

    protect: tuple[LayerPattern, ...] | None = None
    """Layers that keep all channels: names, in which `*` stands for any part, such as
    `encoders.0.*`; `lunet prune CONFIG --dry-run` lists them. null protects `upsamples.*` and
    `head.*`, as STAMP does, and nothing of a MedNeXt."""

    min_parameters: Count | None = None
    """Stop before the network has fewer parameters."""

    min_flops: Annotated[int, Field(ge=1, le=10**18)] | None = None
    """Stop before a pass of 64 x 64 x 64 voxels takes fewer FLOPs in convolutions."""

    margin: Annotated[float, Field(ge=0, le=1)] = 0.01
    """How much Dice may be lost: the step that is chosen is the last one whose mean validation Dice
    lies, with a 95 % confidence interval over cases, at most so far below that of `reference`."""

    reference: Reference = "best"
    """What the Dice of a step is compared with. `best`: the best step so far, since a network may
    get better while it recovers; `unpruned`: the network before the first step, which must be
    trained then."""

    patience: Count | None = None
    """Stop after so many steps in a row that lose more Dice than `margin`; null never does."""

    save_every: _Epochs = 0
    """Keep a `checkpoint_stepNNN.pt` each time so many steps have passed; 0 keeps that of step 0
    alone, the network before."""

    distillation: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the loss while recovering that pulls towards the probabilities of the network before
    pruning; 0 learns from the labels alone."""

    @model_validator(mode="after")
    def _has_effect(self) -> Self:
        if self.distillation > 0 and self.recovery_epochs == 0:
            raise ValueError("distillation has no effect without recovery_epochs")
        return self


def phase_of(step: int, config: PruningConfig) -> range:
    """The epochs, counted from 0, that a step recovers in; of step 0, the warm-up."""
    if step == 0:
        return range(config.warmup_epochs)
    start = config.warmup_epochs + (step - 1) * config.recovery_epochs
    return range(start, start + config.recovery_epochs)
