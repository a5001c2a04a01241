"""Learning from the soft probabilities of another network, beside the labels."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lunet_cli.config.labels import Activation
from lunet_cli.engine.networks.blocks import SegmentationNetwork
from lunet_cli.engine.networks.execution import ExecutionPlan
from lunet_cli.engine.training.losses import cross_entropy


@dataclass(frozen=True)
class Teacher:
    """What a network learns from beside the labels.

    Args:
        forward: From images (B, C, D, H, W) to logits (B, K, D, H, W), whose channels mean what
            those of the student mean. Nothing about it is random. It is called as the student's
            plan says: in its precision, with images on its device and in its layout.
        weight: Its share of the loss, 0 to 1; the labels have the rest.
    """

    forward: Callable[[Tensor], Tensor]
    weight: float

    @classmethod
    def of(cls, network: SegmentationNetwork, plan: ExecutionPlan, *, weight: float) -> Teacher:
        """A copy of a network as it is now, without dropout, computed by the student's plan."""
        # A copy, since the student may be the same network, which goes on changing.
        teacher = plan.place(copy.deepcopy(network)).eval().requires_grad_(False)
        return cls(plan.callable_of(teacher), weight)

    def mixed_loss(
        self,
        loss: Tensor,
        logits: Tensor,
        image: Tensor,
        plan: ExecutionPlan,
        activation: Activation,
    ) -> Tensor:
        """The loss towards the labels and towards the teacher, by their weights.

        Args:
            loss: Towards the labels.
            logits: Those of the student (B, K, D, H, W).
            image: (B, C, D, H, W), as the student has taken it.
            plan: How the student computes.
            activation: What makes probabilities of the logits.
        """
        # Nothing is computed that does not count.
        if self.weight == 0:
            return loss
        with torch.no_grad(), plan.autocast():
            expected = self.forward(image)
        towards_teacher = distillation_loss(logits, expected, activation)
        return (1 - self.weight) * loss + self.weight * towards_teacher


def distillation_loss(logits: Tensor, expected: Tensor, activation: Activation) -> Tensor:
    """Cross-entropy of a student's probabilities against those of a teacher, in float32.

    With `sigmoid`, the binary cross-entropy, averaged over channels and voxels; with `softmax`,
    that of the classes, background included, averaged over voxels. Both are the Kullback-Leibler
    divergence plus the entropy of the teacher, a constant: the gradients are the same, and the
    smallest value is not zero but that entropy. Soft Dice would not do: against probabilities its
    minimum is not where both agree (arXiv:2303.16296).

    Args:
        logits: Those of the student (B, K, D, H, W).
        expected: Those of the teacher, of the same shape.
        activation: What makes probabilities of both.

    References:
        Hinton et al., arXiv:1503.02531, with temperature 1.
    """
    # Reductions per channel are several times faster with the channel as an outer axis.
    logits, expected = logits.float().contiguous(), expected.float().contiguous()
    if activation == "softmax":
        return cross_entropy(logits, expected.softmax(dim=1))
    return F.binary_cross_entropy_with_logits(logits, expected.sigmoid())
