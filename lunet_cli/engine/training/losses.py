"""Losses from logits, computed in float32 whatever the network's precision is."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from lunet_cli.config.labels import Activation
from lunet_cli.config.training import LossConfig, LossName, fitting_loss

Loss = Callable[[Tensor, Tensor], Tensor]
# Where prediction and reference are both empty, the Dice is 1; elsewhere it is lost in a float32.
DICE_EPSILON = 1e-7


def make_loss(config: LossConfig, activation: Activation) -> Loss:
    """The loss that `config` names, `auto` included.

    With `softmax`, channel 0 is the background: it counts in the cross-entropy, and not in the Dice
    term.

    Returns:
        A function from logits and targets (B, C, D, H, W), zeros and ones in bool, to a scalar.
    """
    compute = LOSSES[fitting_loss(config.name, activation)]

    def loss(logits: Tensor, target: Tensor) -> Tensor:
        # Reductions per channel are several times faster with the channel as an outer axis.
        logits = logits.float().contiguous()
        return compute(logits, target.to(logits.dtype), config, activation)

    return loss


def soft_dice_loss(logits: Tensor, target: Tensor, activation: Activation) -> Tensor:
    """One minus the soft Dice, per channel over batch and space, averaged over channels.

    Args:
        logits: (B, C, D, H, W), float32.
        target: Zeros and ones of the same shape and type.
        activation: With `softmax`, channel 0 is left out.

    References:
        V-Net, arXiv:1606.04797, with plain sums in the denominator as in Lean Unet,
        arXiv:2512.03834.
    """
    if activation == "softmax":
        probabilities, target = logits.softmax(dim=1)[:, 1:], target[:, 1:]
    else:
        probabilities = logits.sigmoid()
    axes = (0, 2, 3, 4)
    overlap = (probabilities * target).sum(axes)
    total = probabilities.sum(axes) + target.sum(axes)
    return 1 - ((2 * overlap + DICE_EPSILON) / (total + DICE_EPSILON)).mean()


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of exclusive classes, averaged over voxels.

    Args:
        logits: (B, C, D, H, W), float32.
        target: Probabilities of the same shape and type, which add up to one per voxel; of labels,
            zeros and a single one.
    """
    # Equal to F.cross_entropy with class indices, without the argmax that would make them: it is
    # slow on a CPU.
    return (logits.logsumexp(dim=1) - (logits * target).sum(dim=1)).mean()


def _dice(logits: Tensor, target: Tensor, _: LossConfig, activation: Activation) -> Tensor:
    return soft_dice_loss(logits, target, activation)


def _bce(logits: Tensor, target: Tensor, _: LossConfig, __: Activation) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, target)


def _ce(logits: Tensor, target: Tensor, _: LossConfig, __: Activation) -> Tensor:
    return cross_entropy(logits, target)


def _dice_bce(logits: Tensor, target: Tensor, config: LossConfig, activation: Activation) -> Tensor:
    dice = soft_dice_loss(logits, target, activation)
    bce = F.binary_cross_entropy_with_logits(logits, target)
    return config.dice_weight * dice + config.bce_weight * bce


def _dice_ce(logits: Tensor, target: Tensor, config: LossConfig, activation: Activation) -> Tensor:
    dice = soft_dice_loss(logits, target, activation)
    return config.dice_weight * dice + config.ce_weight * cross_entropy(logits, target)


# From logits and targets in float32; `config.training` says which of them fit an activation.
LOSSES: dict[LossName, Callable[[Tensor, Tensor, LossConfig, Activation], Tensor]] = {
    "dice": _dice,
    "bce": _bce,
    "ce": _ce,
    "dice_bce": _dice_bce,
    "dice_ce": _dice_ce,
}
