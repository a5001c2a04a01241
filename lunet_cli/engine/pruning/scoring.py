"""What each channel of a network is worth, judged by its activations over mini-batches."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from lunet_cli.config.layers import Layer
from lunet_cli.engine.networks.blocks import SegmentationNetwork
from lunet_cli.engine.networks.execution import ExecutionPlan, evaluating
from lunet_cli.engine.training.state import DIVERGED
from lunet_cli.errors import DataError, TrainingError
from lunet_cli.results.words import plural

Criterion = Literal["taylor", "l1", "l2", "l1-std", "random"]


def score_channels(
    network: SegmentationNetwork,
    layers: Sequence[Layer],
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    plan: ExecutionPlan,
    loss: Callable[[Tensor, Tensor], Tensor],
    criterion: Criterion,
    generator: np.random.Generator,
    check: Callable[[], None],
) -> dict[str, Tensor]:
    """Score every channel of every layer; the lowest scores are worth least.

    Activations `a` are those of the layer's taps, which is after its ReLU or GELU; a layer of
    several taps counts as all of them together. V is the number of voxels of the layer, that of its
    largest tap.

    - `taylor`: for each mini-batch of B samples, |the sum of a * dL/da over samples, voxels and
      taps|; the total of these over all mini-batches is divided by the total of B * V. So where
      mini-batches have one size, it is the mean over them of |the mean over samples and voxels of
      a * dL/da|. To first order, score * B * V is how much the loss of a mini-batch changes,
      relative to the share that the channel is scaled down by.
    - `l1`: the L1 norm of a channel in a sample, divided by V; its mean over all samples.
    - `l2`: the L2 norm of a channel in a sample, divided by the root of V; its mean over all
      samples.
    - `l1-std`: the standard deviation over all samples (divided by their number) of the L1 norm of
      a channel in a sample, divided by V. All samples are taken together, since a mini-batch may
      hold a single one, and so that scores do not depend on how samples are put into batches.
    - `random`: drawn uniformly from 0 to 1; no mini-batch is computed.

    The network computes as in evaluation, without dropout, and is left exactly as it was: weights,
    running statistics, gradients, mode, and the state of the global generator.

    Args:
        network: The network, on the device and in the layout of `plan`.
        layers: Its layers.
        batches: Images (B, C, D, H, W) and label maps (B, D, H, W).
        plan: How to compute; what it says of compilation is not heeded.
        loss: From logits and the label maps, on the device of `plan`, to a scalar; called for
            `taylor` only.
        criterion: What makes a channel worth something.
        generator: Draws `random` scores.
        check: Called after each mini-batch; may raise.

    Returns:
        A tensor (width,) in float64 on the CPU for each layer, finite and not negative. Dead
        channels, whose activations are zero, have the score 0.

    Raises:
        DataError: There are fewer samples than the criterion needs.
        TrainingError: Activations or gradients are not finite.

    References:
        Taylor: Molchanov et al., arXiv:1611.06440, section 2.2. The other criteria: STAMP, Dinsdale
        et al., Medical Image Analysis 81:102583, 2022. Norms are divided by the number of voxels so
        that layers of different resolution can be compared where scores are not normalised.
    """
    if criterion == "random":
        return {layer.name: torch.from_numpy(generator.random(layer.width)) for layer in layers}
    # The gradient of a single voxel is below the smallest number of fp16 (6e-8).
    if plan.precision == "fp16":
        plan = replace(plan, precision="fp32")
    found: dict[str, list[_BatchSums]] = {layer.name: [] for layer in layers}
    num_samples = 0
    with evaluating(network):
        for image, label in batches:
            for name, sums in _sums_of_batch(
                network, layers, image, label, plan=plan, loss=loss, criterion=criterion
            ).items():
                found[name].append(sums)
            num_samples += len(image)
            check()
    _require_samples(num_samples, criterion)
    return _finite({name: _SUMMARIES[criterion](sums) for name, sums in found.items()})


@dataclass
class _BatchSums:
    """What one mini-batch says of a layer.

    Args:
        sums: Sums over voxels and taps, (B, width), float64 on the CPU.
        num_voxels: V, as `score_channels` has it.
    """

    sums: Tensor
    num_voxels: int = 0

    @property
    def means(self) -> Tensor:
        """The sums per voxel."""
        return self.sums / self.num_voxels

    def see(self, activation: Tensor) -> None:
        """Note how large a tap is."""
        self.num_voxels = max(self.num_voxels, math.prod(activation.shape[2:]))

    def add(self, values: Tensor) -> None:
        """Add values (B, width, D, H, W) in float32."""
        # Not every device has float64; sums over the voxels of one channel are exact enough.
        self.sums += values.sum(dim=(2, 3, 4)).cpu().double()


def _sums_of_batch(
    network: SegmentationNetwork,
    layers: Sequence[Layer],
    image: Tensor,
    label: Tensor,
    *,
    plan: ExecutionPlan,
    loss: Callable[[Tensor, Tensor], Tensor],
    criterion: Criterion,
) -> dict[str, _BatchSums]:
    """Compute one mini-batch, and for `taylor` its gradients."""
    needs_gradient = criterion == "taylor"
    found: dict[str, _BatchSums] = {}
    for layer in layers:
        found[layer.name] = _BatchSums(torch.zeros(len(image), layer.width, dtype=torch.float64))
    # A tensor of its own, so that what was given stays without gradient.
    placed = plan.place_image(image).detach().requires_grad_(needs_gradient)
    with torch.set_grad_enabled(needs_gradient), _watched(network, layers, found, criterion):
        with plan.autocast():
            logits = network(placed)
        if needs_gradient:
            value = loss(logits, label.to(plan.device, non_blocking=True))
            # The way back to the image passes every layer. It leaves those gradients out that
            # `backward` would add to the weights, and keeps none of the activations.
            torch.autograd.grad(value, placed)
    return found


@contextmanager
def _watched(
    network: nn.Module,
    layers: Sequence[Layer],
    found: dict[str, _BatchSums],
    criterion: Criterion,
) -> Iterator[None]:
    """Let what the taps of each layer put out be summed, as long as this context lasts."""
    handles = []
    try:
        for layer in layers:
            watch = partial(_WATCHES[criterion], found[layer.name])
            for tap in layer.taps:
                handles.append(network.get_submodule(tap).register_forward_hook(watch))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _watch_magnitude(sums: _BatchSums, _: nn.Module, __: object, output: Tensor) -> None:
    sums.see(output)
    sums.add(_exact(output).abs())


def _watch_square(sums: _BatchSums, _: nn.Module, __: object, output: Tensor) -> None:
    sums.see(output)
    sums.add(_exact(output).square())


def _watch_gradient(sums: _BatchSums, _: nn.Module, __: object, output: Tensor) -> None:
    sums.see(output)
    # Not `output` itself, which would hold this function, which would hold it: a circle that keeps
    # the whole graph in memory.
    activation = output.detach()

    def multiply(gradient: Tensor) -> None:
        sums.add(_exact(activation) * _exact(gradient))

    output.register_hook(multiply)


def _exact(values: Tensor) -> Tensor:
    """Values in float32, with the voxels of a channel side by side, where sums are fast."""
    return values.detach().to(torch.float32, memory_format=torch.contiguous_format)


def _mean_loss_change(batches: list[_BatchSums]) -> Tensor:
    changes = [batch.sums.sum(dim=0).abs() for batch in batches]
    num_values = sum(len(batch.sums) * batch.num_voxels for batch in batches)
    return torch.stack(changes).sum(dim=0) / num_values


def _mean_magnitude(batches: list[_BatchSums]) -> Tensor:
    return torch.cat([batch.means for batch in batches]).mean(dim=0)


def _mean_root(batches: list[_BatchSums]) -> Tensor:
    return torch.cat([batch.means for batch in batches]).sqrt().mean(dim=0)


def _spread_of_magnitude(batches: list[_BatchSums]) -> Tensor:
    return torch.cat([batch.means for batch in batches]).std(dim=0, correction=0)


_Watch = Callable[[_BatchSums, nn.Module, object, Tensor], None]
_WATCHES: dict[Criterion, _Watch] = {
    "taylor": _watch_gradient,
    "l1": _watch_magnitude,
    "l2": _watch_square,
    "l1-std": _watch_magnitude,
}
_SUMMARIES: dict[Criterion, Callable[[list[_BatchSums]], Tensor]] = {
    "taylor": _mean_loss_change,
    "l1": _mean_magnitude,
    "l2": _mean_root,
    "l1-std": _spread_of_magnitude,
}


def _require_samples(number: int, criterion: Criterion) -> None:
    needed = 1
    if criterion == "l1-std":
        needed = 2
    if number < needed:
        raise DataError(
            f"`pruning.criterion={criterion}`: channels are scored on at least "
            f"{plural(needed, 'sample')}, not on {number}",
            hint="Give it more training cases, or a larger `pruning.scoring_batches`.",
        )


def _finite(scores: dict[str, Tensor]) -> dict[str, Tensor]:
    for name, values in scores.items():
        if not values.isfinite().all():
            raise TrainingError(
                f"layer {name}: its activations or gradients are not finite", hint=DIVERGED
            )
    return scores
