"""The gradients of a batch."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from contextlib import AbstractContextManager

from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from lunet_cli.engine.data.patches import Batch
from lunet_cli.engine.networks.normalization import BatchNormDropout
from lunet_cli.engine.training.context import StepContext
from lunet_cli.engine.training.losses import make_loss
from lunet_cli.engine.training.state import TrainState
from lunet_cli.engine.training.supervision import supervised_loss


class Gradients:
    """Adds the gradients of batches to those of the weights.

    Args:
        state: The network, its optimiser and scaler.
        context: What is fixed.
        compiled: Whether the plan of the context is heeded, if it asks for compilation.
    """

    def __init__(self, state: TrainState, context: StepContext, *, compiled: bool = True) -> None:
        self._state, self._context = state, context
        self._learner = self._shared_learner()
        # From images (B, C, D, H, W) to the logits that learn from the labels.
        self._forward: Callable[[Tensor], list[Tensor]] = self._learner
        if compiled:
            self._forward = context.plan.callable_of(self._learner)
        self._loss_of = context.setup.loss
        if context.group.size > 1:
            config, labels = context.config.loss, context.labels
            self._loss_of = make_loss(config, labels.activation, labels.names, group=context.group)

    def _shared_learner(self) -> nn.Module:
        """What learns; where several processes train, their gradients are brought together."""
        context, learner = self._context, self._state.learner
        if context.group.size == 1:
            return learner
        if context.config.sync_batch_norm:
            for module in learner.modules():
                if isinstance(module, BatchNormDropout):
                    module.synchronize(context.group)
        return DistributedDataParallel(learner)

    def clear(self) -> None:
        """Begin with none."""
        self._state.optimizer.zero_grad()

    def sharing(self, *, now: bool) -> AbstractContextManager[None]:
        """Within the block, gradients are shared with other processes now or at a later batch."""
        if now or not isinstance(self._learner, DistributedDataParallel):
            return contextlib.nullcontext()
        return self._learner.no_sync()

    def add(self, batch: Batch, *, share: float) -> float:
        """Add the gradients of a batch, and return its part of the loss.

        Where that is not finite, nothing has been added: it would reach every weight in one step.

        Args:
            batch: Images and what is learned from them.
            share: What loss and gradients are multiplied by.
        """
        loss = share * self._loss(batch)
        value = float(loss.detach())
        if math.isfinite(value):
            self._state.scaler.scale(loss).backward()
        return value

    def _loss(self, batch: Batch) -> Tensor:
        """The loss of a batch towards the labels, and towards the teacher where there is one."""
        context = self._context
        plan, labels, teacher = context.plan, context.learned_labels, context.teacher
        label = batch.label.to(plan.device, non_blocking=True)
        target, known = labels.encode(label), labels.known(label)
        image = plan.place_image(batch.image)
        with plan.autocast():
            outputs = self._forward(image)
        strides = self._state.learner.strides
        loss = supervised_loss(self._loss_of, outputs, strides, target, known)
        if teacher is None:
            return loss
        soft = batch.soft
        if soft is not None:
            soft = soft.to(plan.device, non_blocking=True)
        return teacher.mixed_loss(
            loss, outputs, strides, image, soft, labels.activation, context.group
        )
