"""Losses from logits, computed in float32 whatever the network's precision is."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from lunet_cli.config.labels import Activation
from lunet_cli.config.training import LossConfig, fitting_loss

Loss = Callable[[Tensor, Tensor], Tensor]
DICE_EPSILON = 1e-7


def make_loss(config: LossConfig, activation: Activation) -> Loss:
    """The loss that `config` names, `auto` included, from logits and targets (B, C, D, H, W) to a scalar.

    Targets are zeros and ones, bool. With `softmax`, channel 0 is the background: it counts in the
    cross-entropy, and not in the Dice term.
    """
    name = fitting_loss(config.name, activation)

    def dice_term(logits: Tensor, target: Tensor) -> Tensor:
        return soft_dice_loss(logits, target, activation)

    def loss(logits: Tensor, target: Tensor) -> Tensor:
        # Reductions per channel are several times faster with the channel as an outer axis.
        logits = logits.float().contiguous()
        target = target.to(logits.dtype)
        if name == "dice":
            return dice_term(logits, target)
        if name == "bce":
            return F.binary_cross_entropy_with_logits(logits, target)
        if name == "ce":
            return cross_entropy(logits, target)
        if name == "dice_bce":
            bce = F.binary_cross_entropy_with_logits(logits, target)
            return config.dice_weight * dice_term(logits, target) + config.bce_weight * bce
        return config.dice_weight * dice_term(logits, target) + config.ce_weight * cross_entropy(
            logits, target
        )

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
    """Cross-entropy of exclusive classes, averaged over voxels; arguments as in `soft_dice_loss`."""
    # Equal to F.cross_entropy with class indices, without the argmax that would make them: it is
    # slow on a CPU.
    return (logits.logsumexp(dim=1) - (logits * target).sum(dim=1)).mean()
