"""Learning from the soft probabilities of a teacher, beside the labels."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lunet_cli.config.labels import Activation
from lunet_cli.engine.networks.blocks import SegmentationNetwork
from lunet_cli.engine.networks.execution import ExecutionPlan
from lunet_cli.engine.process_group import ALONE, ProcessGroup
from lunet_cli.engine.training.losses import binary_cross_entropy, cross_entropy
from lunet_cli.engine.training.supervision import supervised_loss

# The first passes choose kernels and fill caches.
_NOT_TIMED, _TIMED = 2, 10


@dataclass
class Stopwatch:
    """The time that a teacher takes for a batch, measured over its first ones."""

    _seconds: list[float] = field(default_factory=list)

    @property
    def mean_seconds(self) -> float | None:
        """Of a batch; None before the first was timed."""
        timed = self._seconds[_NOT_TIMED:]
        return sum(timed) / len(timed) if timed else None

    def time(self, compute: Callable[[], Tensor]) -> Tensor:
        """The result of a computation, which counts if it is one of the first."""
        if len(self._seconds) >= _NOT_TIMED + _TIMED:
            return compute()
        start = time.perf_counter()
        found = compute()
        if found.is_cuda:
            torch.cuda.synchronize(found.device)
        self._seconds.append(time.perf_counter() - start)
        return found


@dataclass(frozen=True)
class Teacher:
    """What a network learns from beside the labels.

    Args:
        expects: From images (B, C, D, H, W), on the device of the student and in its layout, and
            the probabilities of each region that came with them (B, R, D, H, W), if any did, to
            probabilities (B, K, D, H, W), whose channels mean what those of the student mean.
            Nothing about it is random.
        weight: Its share of the loss, 0 to 1; the labels have the rest.
        temperature: What the logits of both are divided by.
        stopwatch: Measures how long it takes.
    """

    expects: Callable[[Tensor, Tensor | None], Tensor]
    weight: float
    temperature: float = 1.0
    stopwatch: Stopwatch = field(default_factory=Stopwatch)

    @classmethod
    def of(
        cls,
        network: SegmentationNetwork,
        plan: ExecutionPlan,
        activation: Activation,
        *,
        weight: float,
    ) -> Teacher:
        """A copy of a network as it is now, without dropout, computed by the student's plan."""
        # A copy, since the student may be the same network, which goes on changing.
        teacher = plan.place(copy.deepcopy(network)).eval().requires_grad_(False)
        forward = plan.callable_of(teacher)

        def expects(image: Tensor, _: Tensor | None) -> Tensor:
            with plan.autocast():
                logits: Tensor = forward(image)
            return probabilities_of(logits, activation)

        return cls(expects, weight)

    def mixed_loss(
        self,
        loss: Tensor,
        outputs: Sequence[Tensor],
        strides: Sequence[int],
        image: Tensor,
        soft: Tensor | None,
        activation: Activation,
        group: ProcessGroup = ALONE,
    ) -> Tensor:
        """The loss towards the labels and towards the teacher, by their weights.

        Args:
            loss: Towards the labels.
            outputs: Logits of the student, see `SupervisedNetwork`.
            strides: Those of the outputs.
            image: (B, C, D, H, W), as the student has taken it.
            soft: Probabilities of the regions that came with it (B, R, D, H, W).
            activation: What makes probabilities of logits.
            group: The processes that share the batch.
        """
        # Nothing is computed that does not count.
        if self.weight == 0:
            return loss
        with torch.no_grad():
            expected = self.stopwatch.time(lambda: self.expects(image, soft))
            expected = softened(expected, self.temperature, activation)

        def towards_teacher(logits: Tensor, target: Tensor, known: Tensor | None = None) -> Tensor:
            cooled = logits / self.temperature
            value = distillation_loss(cooled, target, activation, known=known, group=group)
            return self.temperature**2 * value

        taught = supervised_loss(towards_teacher, outputs, strides, expected)
        return (1 - self.weight) * loss + self.weight * taught


def probabilities_of(logits: Tensor, activation: Activation) -> Tensor:
    """Probabilities of each channel (B, K, D, H, W), in float32."""
    # Reductions per channel are several times faster with the channel as an outer axis.
    logits = logits.float().contiguous()
    if activation == "softmax":
        return logits.softmax(dim=1)
    return logits.sigmoid()


def softened(probabilities: Tensor, temperature: float, activation: Activation) -> Tensor:
    """What the probabilities (B, K, D, H, W) were with their logits divided by a temperature."""
    if temperature == 1:
        return probabilities
    # exp(log(p) / T): the constant by which log(p) and the logits differ is divided out.
    powers = probabilities ** (1 / temperature)
    if activation == "softmax":
        return powers / powers.sum(dim=1, keepdim=True)
    return powers / (powers + (1 - probabilities) ** (1 / temperature))


def distillation_loss(
    logits: Tensor,
    expected: Tensor,
    activation: Activation,
    *,
    known: Tensor | None = None,
    group: ProcessGroup = ALONE,
) -> Tensor:
    """Cross-entropy of a student's probabilities against those of a teacher, in float32.

    With `sigmoid`, the binary cross-entropy, averaged over channels and voxels; with `softmax`,
    that of the classes, background included, averaged over voxels. Both are the Kullback-Leibler
    divergence plus the entropy of the teacher, a constant: the gradients are the same, and the
    smallest value is not zero but that entropy. Soft Dice would not do: against probabilities its
    minimum is not where both agree (arXiv:2303.16296).

    Args:
        logits: Those of the student (B, K, D, H, W).
        expected: Probabilities of the teacher, of the same shape, float32.
        activation: What makes probabilities of logits.
        known: Which voxels count (B, 1, D, H, W), bool; None counts all.
        group: The processes that share the batch; each gets the loss of the whole batch.

    References:
        Hinton et al., arXiv:1503.02531.
    """
    # Reductions per channel are several times faster with the channel as an outer axis.
    logits = logits.float().contiguous()
    if activation == "softmax":
        return cross_entropy(logits, expected, known=known, group=group)
    return binary_cross_entropy(logits, expected, known=known, group=group)
