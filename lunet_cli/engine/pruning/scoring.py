"""What each channel of a network is worth, judged by its activations over mini-batches.

Activations `a` are what the taps of a layer put out, behind its ReLU or GELU; several taps of a
layer count together. V is the number of voxels of the layer, that of its largest tap.

- `taylor`: for each mini-batch of B samples, |the sum of a * dL/da over samples, voxels and taps|;
  the total of these is divided by the total of B * V. Where all mini-batches are of one size, that
  is the mean over them of |the mean over samples and voxels of a * dL/da|. To first order, the
  score times B * V is how much the loss of a mini-batch changes, relative to the share that the
  channel is scaled down by.
- `l1`: the L1 norm of the channel in a sample, divided by V; the mean of that over all samples.
- `l2`: the L2 norm of the channel in a sample, divided by the root of V; the mean over all samples.
- `l1-std`: the standard deviation over all samples (divided by their number, not by one less) of
  the L1 norm of the channel in a sample, divided by V. The samples of all mini-batches are taken
  together: a mini-batch may hold a single one, and how they are put together changes nothing.
- `random`: drawn uniformly from 0 to 1.

Norms are divided by the number of voxels so that layers of different resolution can be compared
where scores are not normalised.

References:
    Taylor: Molchanov et al., arXiv:1611.06440, section 2.2. The others: STAMP, Dinsdale et al.,
    Medical Image Analysis 81:102583, 2022.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from lunet_cli.config.layers import Layer
from lunet_cli.config.pruning import Criterion
from lunet_cli.engine.networks.blocks import SegmentationNetwork
from lunet_cli.engine.networks.execution import ExecutionPlan, evaluating
from lunet_cli.engine.training.state import DIVERGED
from lunet_cli.errors import DataError, TrainingError
from lunet_cli.results.words import plural

_LabelLoss = Callable[[Tensor, Tensor], Tensor]


def score_channels(
    network: SegmentationNetwork,
    layers: Sequence[Layer],
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    plan: ExecutionPlan,
    loss: _LabelLoss,
    criterion: Criterion,
    generator: np.random.Generator,
    check: Callable[[], None],
) -> dict[str, Tensor]:
    """Score every channel of every layer; those with the lowest scores are worth least.

    The network computes as in evaluation, without dropout, and is left exactly as it was: weights,
    running statistics, gradients, mode, and the state of the global generator.

    Args:
        network: The network, on the device and in the layout of `plan`.
        layers: Its layers.
        batches: Images (B, C, D, H, W) and label maps (B, D, H, W); `random` asks for none.
        plan: How to compute; compiled or not makes no difference here.
        loss: From logits and label maps, on the device of `plan`, to a scalar; only `taylor` calls
            it.
        criterion: What makes a channel worth something; the module says what each one means.
        generator: Draws `random` scores.
        check: Called after each mini-batch; may raise.

    Returns:
        For each layer a tensor (width,) in float64 on the CPU, finite and not negative. Channels
        whose activations are all zero have the score 0, but for `random`.

    Raises:
        DataError: There are fewer samples than the criterion needs.
        TrainingError: Activations or gradients are not finite.
    """
    if criterion == "random":
        return {layer.name: torch.from_numpy(generator.random(layer.width)) for layer in layers}
    scoring = _Scoring(network, layers, plan, loss, criterion)
    with evaluating(network):
        for image, label in batches:
            scoring.add_batch(image, label)
            check()
    return scoring.scores()


@dataclass
class _BatchSums:
    """What one mini-batch says of a layer.

    Args:
        sums: Sums over voxels and taps, (B, width), float64 on the CPU.
        num_voxels: V, as the module has it.
    """

    sums: Tensor
    num_voxels: int = 0

    def note_size(self, output: Tensor) -> None:
        """Take in how large a tap is."""
        self.num_voxels = max(self.num_voxels, math.prod(output.shape[2:]))

    def add(self, values: Tensor) -> None:
        """Add values (B, width, D, H, W) in float32."""
        # Only what is added up over taps and batches needs float64, which not every device has.
        self.sums += values.sum(dim=(2, 3, 4)).cpu().double()


class _Scoring:
    """The mini-batches of one scoring.

    Args:
        network: The network, in evaluation mode.
        layers: Its layers.
        plan: How to compute.
        loss: From logits and label maps to a scalar.
        criterion: Any but `random`.
    """

    def __init__(
        self,
        network: SegmentationNetwork,
        layers: Sequence[Layer],
        plan: ExecutionPlan,
        loss: _LabelLoss,
        criterion: Criterion,
    ) -> None:
        # The gradient of a single voxel is below the smallest number of fp16 (6e-8).
        if plan.precision == "fp16":
            plan = replace(plan, precision="fp32")
        self._network, self._layers = network, layers
        self._plan, self._loss, self._criterion = plan, loss, criterion
        self._num_samples = 0
        self._found: dict[str, list[_BatchSums]] = {layer.name: [] for layer in layers}

    def add_batch(self, image: Tensor, label: Tensor) -> None:
        """Compute a mini-batch, for `taylor` with its gradients."""
        self._num_samples += len(image)
        for layer in self._layers:
            sums = torch.zeros(len(image), layer.width, dtype=torch.float64)
            self._found[layer.name].append(_BatchSums(sums))
        needs_gradient = self._criterion == "taylor"
        # A tensor of its own, so that what was given stays without gradient.
        placed = self._plan.place_image(image).detach().requires_grad_(needs_gradient)
        with torch.set_grad_enabled(needs_gradient), self._watched_taps():
            with self._plan.autocast():
                logits = self._network(placed)
            if needs_gradient:
                value = self._loss(logits, label.to(self._plan.device, non_blocking=True))
                # The way back to the image passes every layer. Unlike `backward`, it computes no
                # gradients of weights, and adds none to theirs.
                torch.autograd.grad(value, placed)

    def scores(self) -> dict[str, Tensor]:
        """The scores of all layers; see `score_channels`."""
        _require_samples(self._num_samples, self._criterion)
        scores: dict[str, Tensor] = {}
        for name, batches in self._found.items():
            scores[name] = _SUMMARIES[self._criterion](batches)
            if not scores[name].isfinite().all():
                raise TrainingError(
                    f"layer {name}: its activations or gradients are not finite", hint=DIVERGED
                )
        return scores

    @contextmanager
    def _watched_taps(self) -> Iterator[None]:
        """Sum what the taps put out, as long as this context lasts."""
        handles = []
        try:
            for layer in self._layers:
                watch = partial(_WATCHES[self._criterion], self._found[layer.name][-1])
                for tap in layer.taps:
                    module = self._network.get_submodule(tap)
                    handles.append(module.register_forward_hook(watch))
            yield
        finally:
            for handle in handles:
                handle.remove()


def _watch_magnitude(batch: _BatchSums, _: nn.Module, __: object, output: Tensor) -> None:
    batch.note_size(output)
    batch.add(_exact(output).abs())


def _watch_square(batch: _BatchSums, _: nn.Module, __: object, output: Tensor) -> None:
    batch.note_size(output)
    batch.add(_exact(output).square())


def _watch_gradient(batch: _BatchSums, _: nn.Module, __: object, output: Tensor) -> None:
    batch.note_size(output)
    # Not `output` itself: it holds the function below, which would hold it in turn, and with it
    # the whole graph.
    activation = output.detach()

    def multiply(gradient: Tensor) -> None:
        batch.add(_exact(activation) * _exact(gradient))

    output.register_hook(multiply)


def _exact(values: Tensor) -> Tensor:
    """Values in float32, with the voxels of a channel side by side, where sums are fast."""
    return values.detach().to(torch.float32, memory_format=torch.contiguous_format)


def _mean_change(batches: list[_BatchSums]) -> Tensor:
    total = torch.zeros(batches[0].sums.shape[1], dtype=torch.float64)
    num_values = 0
    for batch in batches:
        total += batch.sums.sum(dim=0).abs()
        num_values += len(batch.sums) * batch.num_voxels
    return total / num_values


def _means_of_samples(batches: list[_BatchSums]) -> Tensor:
    """Means over voxels, (samples, width)."""
    return torch.cat([batch.sums / batch.num_voxels for batch in batches])


def _mean_l1(batches: list[_BatchSums]) -> Tensor:
    return _means_of_samples(batches).mean(dim=0)


def _mean_l2(batches: list[_BatchSums]) -> Tensor:
    return _means_of_samples(batches).sqrt().mean(dim=0)


def _spread_of_l1(batches: list[_BatchSums]) -> Tensor:
    return _means_of_samples(batches).std(dim=0, correction=0)


_WATCHES: dict[Criterion, Callable[[_BatchSums, nn.Module, object, Tensor], None]] = {
    "taylor": _watch_gradient,
    "l1": _watch_magnitude,
    "l2": _watch_square,
    "l1-std": _watch_magnitude,
}
_SUMMARIES: dict[Criterion, Callable[[list[_BatchSums]], Tensor]] = {
    "taylor": _mean_change,
    "l1": _mean_l1,
    "l2": _mean_l2,
    "l1-std": _spread_of_l1,
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
