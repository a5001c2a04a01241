"""The gradients of a batch: computed call by call, or replayed as one CUDA graph.

A lean network has many small kernels. A GPU has done most of them before Python has launched the
next; recorded once, the whole of forward and backward pass is a single launch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lunet_cli.engine.training.context import StepContext
from lunet_cli.engine.training.state import TrainState
from lunet_cli.engine.training.supervision import supervised_loss

# PyTorch's own number: kernels are chosen, and memory is taken, in the first passes.
_WARM_UP_PASSES = 3


class Gradients:
    """Adds the gradients of batches to those of the weights.

    Args:
        state: The network, its optimiser and scaler.
        context: What is fixed.
        compiled: Whether the plan of the context is heeded, if it asks for compilation.
    """

    def __init__(self, state: TrainState, context: StepContext, *, compiled: bool = True) -> None:
        self._state, self._context = state, context
        # From images (B, C, D, H, W) to the logits that learn from the labels.
        self._forward: Callable[[Tensor], list[Tensor]] = state.learner
        if compiled:
            self._forward = context.plan.callable_of(state.learner)

    def clear(self) -> None:
        """Begin with none."""
        self._state.optimizer.zero_grad()

    def add(self, image: Tensor, label: Tensor, *, share: float) -> float:
        """Add the gradients of a batch, and return its part of the loss.

        Where that is not finite, nothing has been added: it would reach every weight in one step.

        Args:
            image: (B, C, D, H, W), float32.
            label: Label maps (B, D, H, W).
            share: What loss and gradients are multiplied by.
        """
        loss = share * self._loss(image, label)
        value = float(loss.detach())
        if math.isfinite(value):
            self._state.scaler.scale(loss).backward()
        return value

    def _loss(self, image: Tensor, label: Tensor) -> Tensor:
        """The loss of a batch towards the labels, and towards the teacher where there is one."""
        plan, labels, teacher = self._context.plan, self._context.labels, self._context.teacher
        label = label.to(plan.device, non_blocking=True)
        target, known = labels.encode(label), labels.known(label)
        image = plan.place_image(image)
        with plan.autocast():
            outputs = self._forward(image)
        strides = self._state.learner.strides
        loss = supervised_loss(self._context.setup.loss, outputs, strides, target, known)
        if teacher is None:
            return loss
        return teacher.mixed_loss(loss, outputs[0], image, plan, labels.activation)


@dataclass(frozen=True)
class _Recording:
    """A pass over a batch of one shape, and the memory that it reads from and writes to."""

    graph: torch.cuda.CUDAGraph
    image: Tensor
    label: Tensor
    share: Tensor
    loss: Tensor


class RecordedGradients(Gradients):
    """The same by CUDA graphs, one for each shape of a batch.

    Running statistics and the state of the random generator are those of the passes that count; the
    passes that warm up leave no trace.

    Args:
        state: As above, on a CUDA device.
        context: As above.
        on_failure: Called with the reason, if a pass cannot be recorded; then all go call by call.

    References:
        https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
    """

    def __init__(
        self, state: TrainState, context: StepContext, on_failure: Callable[[str], None]
    ) -> None:
        super().__init__(state, context, compiled=False)
        self._on_failure = on_failure
        self._recordings: dict[tuple[object, ...], _Recording] = {}
        self._can_record = True

    def clear(self) -> None:
        """See `Gradients`; a recording goes on writing where the gradients were."""
        self._state.optimizer.zero_grad(set_to_none=False)

    def add(self, image: Tensor, label: Tensor, *, share: float) -> float:
        """See `Gradients`; gradients that are not finite are there, for `clear` to remove."""
        key = (image.shape, label.shape, label.dtype)
        if key not in self._recordings and self._can_record:
            try:
                self._recordings[key] = self._record(image, label)
            except RuntimeError as error:
                self._can_record = False
                self._on_failure((str(error).strip() or repr(error)).splitlines()[0])
        if key not in self._recordings:
            return super().add(image, label, share=share)
        recording = self._recordings[key]
        recording.image.copy_(image, non_blocking=True)
        recording.label.copy_(label, non_blocking=True)
        recording.share.fill_(share)
        recording.graph.replay()
        return float(recording.loss)

    def _record(self, image: Tensor, label: Tensor) -> _Recording:
        device = self._context.plan.device
        static = (self._context.plan.place_image(image).clone(), label.to(device).clone())
        share = torch.ones((), device=device)
        before = self._changed_values()
        generator = torch.cuda.get_rng_state()
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UP_PASSES):
                self._pass(*static, share)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            loss = self._pass(*static, share)
        with torch.no_grad():
            for tensor, value in before:
                tensor.copy_(value)
        torch.cuda.set_rng_state(generator)
        return _Recording(graph, *static, share, loss)

    def _pass(self, image: Tensor, label: Tensor, share: Tensor) -> Tensor:
        loss = share * self._loss(image, label)
        self._state.scaler.scale(loss).backward()
        return loss.detach()

    def _changed_values(self) -> list[tuple[Tensor, Tensor]]:
        """What a pass changes, each with a copy: gradients, which are made here, and statistics."""
        changed: list[Tensor] = [*self._state.learner.buffers()]
        for parameter in self._state.learner.parameters():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            changed.append(parameter.grad)
        return [(tensor, tensor.clone()) for tensor in changed]


def gradients_of(
    state: TrainState, context: StepContext, on_failure: Callable[[str], None]
) -> Gradients:
    """How the gradients of a training are computed, as device and configuration have it.

    Args:
        state: What changes.
        context: What is fixed.
        on_failure: See `RecordedGradients`.
    """
    plan = context.plan
    if plan.device == "cuda" and not plan.compile and context.config.cuda_graphs:
        return RecordedGradients(state, context, on_failure)
    return Gradients(state, context)
