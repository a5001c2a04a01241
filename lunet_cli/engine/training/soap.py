"""SOAP: Adam along the axes in which the gradients of a layer vary independently."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Size, Tensor, nn
from torch.optim import Optimizer

# Those of the paper, which takes one value for all three.
_DECAY = 0.95
_EPSILON = 1e-8
_STEPS_BETWEEN_AXES = 10
# A square matrix of this side takes 4 MiB; finding its axes takes about as long as a training step
# of a lean network. Longer sides are left as they are.
_LONGEST_SIDE = 1024
_SIDES = ("rows", "columns")


class Soap(Optimizer):
    """Shampoo with Adam in the eigenbasis of its preconditioner.

    A kernel (O, I, ...) counts as a matrix of O rows. The second moments of its gradients over rows
    and over columns have eigenvectors; Adam works on the gradient as seen along these, and its
    steps are turned back. A lean network has matrices of some hundred rows at most, for which all
    this costs little beside a convolution. What has one axis, as biases have, gets plain Adam. The
    first gradient only begins the moments.

    Args:
        parameters: Parameters, or groups of them.
        lr: Size of the steps.
        weight_decay: Share of a weight that each step takes off, times `lr`.

    References:
        Vyas et al., SOAP: Improving and Stabilizing Shampoo using Adam, arXiv:2409.11321,
        algorithm 3. Sides longer than 1,024 stay as they are.
    """

    def __init__(
        self,
        parameters: Iterable[Any],
        lr: float,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Change the parameters once."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._change(parameter, group["lr"], group["weight_decay"])
        return loss

    def _change(self, parameter: nn.Parameter, rate: float, decay: float) -> None:
        assert parameter.grad is not None
        gradient = parameter.grad.contiguous()
        if parameter.ndim > 1:
            gradient = gradient.reshape(len(parameter), -1)
        state = self.state[parameter]
        if not state:
            _begin(state, parameter, gradient)
            return
        state["step"] += 1
        step = _adam_step(state, gradient)
        if decay:
            parameter.mul_(1 - rate * decay)
        parameter.add_(step.reshape(parameter.shape), alpha=-rate)
        for side in _sides(state):
            state[f"{side}_moment"].lerp_(_second_moment(gradient, side), 1 - _DECAY)
        if state["step"].item() % _STEPS_BETWEEN_AXES == 1:
            _turn_axes(state)


def soap_shapes(parameter: Tensor) -> dict[str, Size]:
    """What SOAP keeps of a parameter, by name, and the shape of each."""
    shapes: dict[str, Size] = {"step": Size()}
    matrix = Size((len(parameter), parameter[0].numel())) if parameter.ndim > 1 else parameter.shape
    shapes["mean"] = shapes["square"] = matrix
    if len(matrix) > 1:
        for side, length in zip(_SIDES, matrix, strict=True):
            # Of one row there is nothing to turn.
            if 1 < length <= _LONGEST_SIDE:
                shapes[side] = shapes[f"{side}_moment"] = Size((length, length))
    return shapes


def _begin(state: dict[str, Tensor], parameter: Tensor, gradient: Tensor) -> None:
    """The state after the first gradient (O, I), or (O,) of what has one axis."""
    for name, shape in soap_shapes(parameter).items():
        state[name] = torch.zeros(shape, dtype=gradient.dtype, device=gradient.device)
    # Where it can be read without waiting for a GPU.
    state["step"] = state["step"].cpu()
    for side in _sides(state):
        state[f"{side}_moment"].copy_(_second_moment(gradient, side))
        state[side] = _axes_of(state[f"{side}_moment"])


def _axes_of(moment: Tensor) -> Tensor:
    """Eigenvectors of a second moment (N, N) as columns, that of the largest eigenvalue first."""
    # In single precision, LAPACK gives up on small values of low rank.
    scale = moment.abs().max().clamp_min(torch.finfo(moment.dtype).tiny)
    vectors: Tensor = torch.linalg.eigh((moment / scale).double().cpu()).eigenvectors
    return vectors.flip(1).to(moment.device, moment.dtype)


def _sides(state: dict[str, Tensor]) -> tuple[str, ...]:
    """Those that have axes of their own."""
    return tuple(side for side in _SIDES if side in state)


def _second_moment(gradient: Tensor, side: str) -> Tensor:
    return gradient @ gradient.T if side == "rows" else gradient.T @ gradient


def _along_axes(state: dict[str, Tensor], value: Tensor, *, back: bool = False) -> Tensor:
    """A matrix (O, I) as seen along the axes of its sides; `back` undoes it."""
    if "rows" in state:
        value = (state["rows"] if back else state["rows"].T) @ value
    if "columns" in state:
        value = value @ (state["columns"].T if back else state["columns"])
    return value


def _adam_step(state: dict[str, Tensor], gradient: Tensor) -> Tensor:
    """The step of Adam along the axes, turned back; its moments are brought up to date."""
    turned = _along_axes(state, gradient)
    state["mean"].lerp_(gradient, 1 - _DECAY)
    state["square"].mul_(_DECAY).addcmul_(turned, turned, value=1 - _DECAY)
    # Both moments begin at 0, and are divided by what their weights sum up to.
    weights = 1 - _DECAY ** state["step"].item()
    spread = (state["square"] / weights).sqrt_().add_(_EPSILON)
    step = _along_axes(state, state["mean"] / weights) / spread
    return _along_axes(state, step, back=True)


def _turn_axes(state: dict[str, Tensor]) -> None:
    """Bring the axes up to date: one step of the power iteration from the old ones, by QR."""
    for dim, side in enumerate(_SIDES):
        if side not in state:
            continue
        moment, axes = state[f"{side}_moment"], state[side]
        moved = moment @ axes
        # Moments along axes keep their places in the order of what these explain.
        order = (axes * moved).sum(0).argsort(descending=True)
        state["square"] = state["square"].index_select(dim, order)
        state[side] = torch.linalg.qr(moved[:, order]).Q
