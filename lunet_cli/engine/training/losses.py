"""Losses from logits, computed in float32 whatever the network's precision is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from lunet_cli.config.labels import Activation
from lunet_cli.config.training import LossConfig, LossName, fitting_loss
from lunet_cli.engine.process_group import ALONE, ProcessGroup
from lunet_cli.errors import ConfigError


class Loss(Protocol):
    """What is minimised."""

    def __call__(self, logits: Tensor, target: Tensor, known: Tensor | None = None) -> Tensor:
        """A scalar.

        Args:
            logits: (B, C, D, H, W).
            target: Zeros and ones of the same shape, bool.
            known: Whether voxels are labelled (B, 1, D, H, W); None if all are. The others do not
                count.
        """


# Where prediction and reference are both empty, the Dice is 1; elsewhere it is lost in a float32.
DICE_EPSILON = 1e-7


def make_loss(
    config: LossConfig,
    activation: Activation,
    labels: Sequence[str] = (),
    *,
    group: ProcessGroup = ALONE,
) -> Loss:
    """The loss that `config` names, `auto` included.

    With `softmax`, channel 0 is the background: it counts in the cross-entropy, and not in the Dice
    term.

    Args:
        config: The section `training.loss`.
        activation: How the labels are trained.
        labels: Their names, in the order of the channels; needed where they have weights.
        group: The processes that share a batch; each gets the loss of the whole batch.

    Raises:
        ConfigError: A weight is of a label that does not exist, or all are 0.
    """
    compute = LOSSES[fitting_loss(config.name, activation)]
    weights = _label_weights(config.label_weights, labels)

    def loss(logits: Tensor, target: Tensor, known: Tensor | None = None) -> Tensor:
        # Reductions per channel are several times faster with the channel as an outer axis.
        logits = logits.float().contiguous()
        terms = _Terms(config, activation, weights, known, group)
        return compute(terms, logits, target.to(logits.dtype))

    return loss


def _label_weights(
    configured: Mapping[str, float] | None, labels: Sequence[str]
) -> tuple[float, ...] | None:
    """A weight for each label; they add up to 1. None where all count alike."""
    if configured is None:
        return None
    for name in configured:
        if name not in labels:
            raise ConfigError(
                f"training.loss.label_weights: there is no label {name}",
                hint=f"The labels are {', '.join(labels)}.",
            )
    weights = [configured.get(name, 1.0) for name in labels]
    if sum(weights) == 0:
        raise ConfigError(
            "training.loss.label_weights: all are 0, which leaves nothing to learn",
            hint="Give at least one label a weight above 0.",
        )
    return tuple(weight / sum(weights) for weight in weights)


def soft_dice_loss(
    logits: Tensor,
    target: Tensor,
    activation: Activation,
    *,
    over_batch: bool = True,
    weights: Sequence[float] | None = None,
    known: Tensor | None = None,
    group: ProcessGroup = ALONE,
) -> Tensor:
    """One minus the soft Dice, per channel over batch and space, averaged over channels.

    Args:
        logits: (B, C, D, H, W), float32.
        target: Zeros and ones of the same shape and type.
        activation: With `softmax`, channel 0 is left out.
        over_batch: Whether voxels of all samples are counted together; otherwise it is the mean
            over samples, too.
        weights: Of the channels, background left out, adding up to 1; None counts all alike.
        known: Which voxels count (B, 1, D, H, W), bool; None counts all.
        group: The processes that share the batch.

    References:
        V-Net, arXiv:1606.04797, with plain sums in the denominator as in Lean Unet,
        arXiv:2512.03834.
    """
    if activation == "softmax":
        probabilities, target = logits.softmax(dim=1)[:, 1:], target[:, 1:]
    else:
        probabilities = logits.sigmoid()
    if known is not None:
        probabilities, target = probabilities * known, target * known
    axes = (0, 2, 3, 4) if over_batch else (2, 3, 4)
    overlap = (probabilities * target).sum(axes)
    total = probabilities.sum(axes) + target.sum(axes)
    if over_batch:
        overlap, total = group.sum(torch.stack([overlap, total]))
    dice = (2 * overlap + DICE_EPSILON) / (total + DICE_EPSILON)
    # The channel is the last axis, with or without samples in front.
    score = dice.mean(dim=-1) if weights is None else (dice * dice.new_tensor(weights)).sum(dim=-1)
    return 1 - (score if over_batch else _mean(score, group))


def cross_entropy(
    logits: Tensor,
    target: Tensor,
    *,
    gamma: float = 0.0,
    known: Tensor | None = None,
    group: ProcessGroup = ALONE,
) -> Tensor:
    """Cross-entropy of exclusive classes, averaged over voxels.

    Args:
        logits: (B, C, D, H, W), float32.
        target: Probabilities of the same shape and type, which add up to one per voxel; of labels,
            zeros and a single one.
        gamma: Power of the factor of the focal loss; 0 is the plain cross-entropy.
        known: Which voxels count (B, 1, D, H, W), bool; None counts all.
        group: The processes that share the batch.
    """
    # Equal to F.cross_entropy with class indices, without the argmax that would make them: it is
    # slow on a CPU.
    entropy = logits.logsumexp(dim=1) - (logits * target).sum(dim=1)
    if gamma > 0:
        right = (logits.softmax(dim=1) * target).sum(dim=1)
        entropy = (1 - right) ** gamma * entropy
    return _mean_of_known(entropy[:, None], known, group)


def binary_cross_entropy(
    logits: Tensor,
    target: Tensor,
    *,
    gamma: float = 0.0,
    known: Tensor | None = None,
    group: ProcessGroup = ALONE,
) -> Tensor:
    """Binary cross-entropy, averaged over channels and voxels.

    Args:
        logits: (B, C, D, H, W), float32.
        target: Probabilities of the same shape and type; of labels, zeros and ones.
        gamma: Power of the factor of the focal loss; 0 is the plain cross-entropy.
        known: Which voxels count (B, 1, D, H, W), bool; None counts all.
        group: The processes that share the batch.
    """
    if gamma == 0 and known is None and group.size == 1:
        return F.binary_cross_entropy_with_logits(logits, target)
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    if gamma > 0:
        probabilities = logits.sigmoid()
        right = probabilities * target + (1 - probabilities) * (1 - target)
        entropy = (1 - right) ** gamma * entropy
    return _mean_of_known(entropy, known, group)


def _mean_of_known(values: Tensor, known: Tensor | None, group: ProcessGroup) -> Tensor:
    """The mean of values (B, C, D, H, W) over channels and the voxels that count; 0 without any."""
    if known is None:
        return _mean(values, group)
    number = group.sum(known.sum()) * values.shape[1]
    return group.sum((values * known).sum()) / number.clamp(min=1)


def _mean(values: Tensor, group: ProcessGroup) -> Tensor:
    """The mean of the values of all processes, of which some may have none."""
    if group.size == 1:
        return values.mean()
    number = torch.tensor(float(values.numel()), device=values.device)
    sums = group.sum(torch.stack([values.sum(), number]))
    return sums[0] / sums[1]


class _Terms:
    """The terms of a loss, as its section configures them."""

    def __init__(
        self,
        config: LossConfig,
        activation: Activation,
        weights: tuple[float, ...] | None,
        known: Tensor | None,
        group: ProcessGroup,
    ) -> None:
        self.config = config
        self._group = group
        self._known = known
        self._activation: Activation = activation
        self._weights = weights

    def dice(self, logits: Tensor, target: Tensor) -> Tensor:
        return soft_dice_loss(
            logits,
            target,
            self._activation,
            over_batch=self.config.batch_dice,
            weights=self._weights,
            known=self._known,
            group=self._group,
        )

    def bce(self, logits: Tensor, target: Tensor) -> Tensor:
        smoothed = self._smooth(target, num_classes=2)
        gamma = self.config.focal_gamma
        return binary_cross_entropy(
            logits, smoothed, gamma=gamma, known=self._known, group=self._group
        )

    def ce(self, logits: Tensor, target: Tensor) -> Tensor:
        smoothed = self._smooth(target, num_classes=target.shape[1])
        gamma = self.config.focal_gamma
        return cross_entropy(logits, smoothed, gamma=gamma, known=self._known, group=self._group)

    def _smooth(self, target: Tensor, num_classes: int) -> Tensor:
        share = self.config.label_smoothing
        if share == 0:
            return target
        return (1 - share) * target + share / num_classes


def _dice_bce(terms: _Terms, logits: Tensor, target: Tensor) -> Tensor:
    dice, bce = terms.dice(logits, target), terms.bce(logits, target)
    return terms.config.dice_weight * dice + terms.config.bce_weight * bce


def _dice_ce(terms: _Terms, logits: Tensor, target: Tensor) -> Tensor:
    dice, entropy = terms.dice(logits, target), terms.ce(logits, target)
    return terms.config.dice_weight * dice + terms.config.ce_weight * entropy


# From logits and targets in float32; `config.training` says which of them fit an activation.
LOSSES: dict[LossName, Callable[[_Terms, Tensor, Tensor], Tensor]] = {
    "dice": _Terms.dice,
    "bce": _Terms.bce,
    "ce": _Terms.ce,
    "dice_bce": _dice_bce,
    "dice_ce": _dice_ce,
}
