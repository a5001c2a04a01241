"""The `training` section: how a network learns."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from lunet_cli.config.base import Count, Section, Weight
from lunet_cli.config.labels import Activation
from lunet_cli.config.vocabulary import DeviceName, PrecisionChoice
from lunet_cli.errors import ConfigError

LossName = Literal["auto", "dice", "bce", "dice_bce", "ce", "dice_ce"]
OptimizerName = Literal["adam", "adamw", "sgd", "soap"]
Scheduler = Literal["none", "cosine", "step", "poly", "one-cycle"]
PatchEdge = Annotated[int, Field(ge=2, le=4096)]
# A cross-entropy over exclusive classes needs their softmax, a binary one a sigmoid for each label;
# Dice takes either.
FITTING_LOSSES: dict[Activation, tuple[LossName, ...]] = {
    "softmax": ("dice_ce", "dice", "ce"),
    "sigmoid": ("dice_bce", "dice", "bce"),
}


class LossConfig(Section):
    """What is minimised, from logits."""

    name: LossName = "dice"
    """`dice`: soft Dice; `bce`: binary cross-entropy; `ce`: cross-entropy of classes that exclude
    each other; `dice_bce`, `dice_ce`: sums of two. `auto`: `dice_ce` with a softmax, `dice_bce`
    with a sigmoid."""

    dice_weight: Weight = 1.0
    """Weight of the Dice term in `dice_bce` and `dice_ce`."""

    bce_weight: Weight = 1.0
    """Weight of the binary cross-entropy in `dice_bce`."""

    ce_weight: Weight = 1.0
    """Weight of the cross-entropy in `dice_ce`."""

    batch_dice: bool = True
    """Whether Dice counts the voxels of all patches of a batch together, which suits small batches
    and rare labels, or those of each patch alone and takes the mean."""

    label_weights: dict[str, Weight] | None = None
    """How much labels count in the Dice term, by their names; those that are left out count 1. The
    weights are divided by their sum."""

    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of each label that cross-entropies spread evenly over all classes, or in a binary one
    over yes and no; it keeps probabilities away from 0 and 1. Dice takes the labels as they
    are."""

    focal_gamma: Annotated[float, Field(ge=0, le=10)] = 0.0
    """Cross-entropies multiply each voxel by (1 - p) to this power, where p is the probability of
    what is right: the larger it is, the less voxels count that are learned already. 0 is the plain
    cross-entropy, 2 the focal loss of arXiv:1708.02002."""


def fitting_loss(name: LossName, activation: Activation) -> LossName:
    """The loss that is meant: what `auto` stands for with this activation, or else `name`.

    Args:
        name: What the configuration says.
        activation: How the labels are trained.

    Raises:
        ConfigError: The loss does not fit the activation.
    """
    if name == "auto":
        return FITTING_LOSSES[activation][0]
    if name in FITTING_LOSSES[activation]:
        return name
    needs, other = "exclusive classes", "softmax"
    if activation == "softmax":
        needs, other = "independent channels", "sigmoid"
    raise ConfigError(
        f"training.loss.name: {name} needs {needs}, and these labels are trained with a "
        f"{activation}",
        hint=f"Set training.loss.name: auto, or model.activation: {other}.",
    )


class CheckpointConfig(Section):
    """Which states are kept, beside `last.pt`."""

    save_every: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """Keep a `checkpoint_epochNNN.pt` each time so many epochs have passed; 0 keeps none."""

    keep_best: bool = True
    """Keep the state with the best validation Dice as `best_model.pt`."""


class TrainingConfig(Section):
    """Epochs, batches, loss, optimiser and how they run on the machine."""

    epochs: Count = 100
    """How often each training case is used."""

    batch_size: Annotated[int, Field(ge=1, le=65536)] = 4
    """Patches in one step."""

    patch_size: tuple[PatchEdge, PatchEdge, PatchEdge] | None = None
    """Voxels of a training patch in array order (z, y, x). null trains on whole volumes, padded to
    the largest, if that has at most 128^3 voxels; otherwise on patches of at most 96 voxels along
    each axis."""

    patches_per_case: Annotated[int, Field(ge=1, le=10_000)] = 1
    """Patches that are taken from each case in one epoch."""

    accumulate_batches: Annotated[int, Field(ge=1, le=1024)] = 1
    """Batches whose gradients are added up before the weights change, where memory is too small for
    a large batch. Batch normalisation, and Dice over the batch, see one batch at a time."""

    # A third, as in nnU-Net (oversample_foreground_percent).
    foreground_fraction: Annotated[float, Field(ge=0, le=1)] = 0.33
    """Share of the patches that have a labelled voxel in their centre, where a patch is smaller
    than the volume."""

    optimizer: OptimizerName = "adam"
    """How steps follow from gradients. `sgd` has Nesterov's momentum; `soap` is Adam along the axes
    in which the gradients of a layer vary independently (arXiv:2409.11321): it needs fewer steps,
    and each costs little more where layers are narrow."""

    # nnU-Net's; the common 0.9 converges more slowly on few, small batches.
    momentum: Annotated[float, Field(gt=0, lt=1)] = 0.99
    """For `sgd`: how much of the last step goes into the next."""

    # That of the paper for its small networks; the large ones take 1e-3 (configs/lunet_large.yaml).
    learning_rate: Annotated[float, Field(gt=0, le=1e30)] = 1e-2
    """Size of the steps, once warm-up is over."""

    weight_decay: Weight = 0.0
    """How strongly the weights of convolutions are pulled to 0: as a part of the loss (L2), or with
    `adamw` and `soap` apart from it. Biases and normalisation are left alone."""

    scheduler: Scheduler = "none"
    """How the learning rate changes during training."""

    scheduler_step_size: Count = 100
    """For `step`: epochs between two reductions."""

    scheduler_gamma: Annotated[float, Field(gt=0, le=1)] = 0.5
    """For `step`: factor of each reduction."""

    warmup_epochs: Annotated[float, Field(ge=0, le=1e6)] = 0.0
    """Epochs in which the learning rate rises from 0 in equal steps; parts of an epoch are
    possible."""

    gradient_clip: Annotated[float, Field(gt=0, le=1e12)] | None = None
    """Largest norm of the gradient, longer ones are shortened to it; null leaves them as they
    are."""

    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Keep a moving average of the weights, which then validates and becomes the best model. The
    value is its decay at each step: how much of the average stays. It rises to this value, as (1 +
    n) / (10 + n) after n steps. null keeps no average."""

    sync_batch_norm: bool = False
    """Where several processes train together: whether batch normalisation takes its statistics from
    the whole batch, or each process from its part."""

    deep_supervision: bool = False
    """Whether the earlier steps of the decoder learn from the labels too, each with half the weight
    of the one behind it, by heads that are left behind when the training ends. Of a UNet++, these
    are the nodes of full resolution."""

    validation_interval: Count = 1
    """Epochs from one validation to the next; the last epoch always validates. Only epochs that
    validate can become the best."""

    early_stopping_patience: Count | None = None
    """Stop after so many epochs without a better Dice of the validation; null never stops early."""

    max_minutes: Annotated[float, Field(gt=0, le=1e6)] | None = None
    """Stop before the epoch that would end later than so many minutes of training and validation,
    counted over all sessions of a run; null takes the time that the epochs take."""

    log_interval: Count = 10
    """Steps between two lines about the loss in `train.log`."""

    device: DeviceName = "auto"
    """Where to compute; `auto` takes CUDA, then MPS, then the CPU."""

    precision: PrecisionChoice = "auto"
    """Arithmetic of the forward and backward pass; weights stay in fp32. `auto` takes bf16 where
    the machine has instructions for it (CPUs with AMX or AVX-512-BF16, newer GPUs), and compares it
    with fp32 for a few steps."""

    compile: bool | Literal["auto"] = False
    """Whether `torch.compile` is used, which takes about half a minute at the start; `auto` does so
    on CUDA only."""

    num_threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    """CPU threads; null leaves the number to PyTorch."""

    loss: LossConfig = LossConfig()
    """What is minimised."""

    checkpoint: CheckpointConfig = CheckpointConfig()
    """Which states of the training are kept."""

    @model_validator(mode="after")
    def _warmup_fits(self) -> TrainingConfig:
        if self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"warmup_epochs {self.warmup_epochs:g} leaves nothing of epochs {self.epochs}"
            )
        if self.warmup_epochs and self.scheduler == "one-cycle":
            raise ValueError("scheduler: one-cycle has its own warm-up; remove warmup_epochs")
        return self
