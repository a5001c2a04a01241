"""How much memory a step takes: counted on the real network."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lunet_cli.config.network import NetworkSpec
from lunet_cli.config.training import TrainingConfig
from lunet_cli.config.vocabulary import MIB, Size
from lunet_cli.engine.networks import build_network
from lunet_cli.engine.training.optimization import make_optimizer, state_shapes

_BYTES = 4  # of a number in fp32


class KeptBytes:
    """Counts the storages that a forward pass keeps for its backward pass, each once."""

    def __init__(self) -> None:
        self.total = 0
        self._seen: set[int] = set()

    def note(self, tensor: Tensor) -> Tensor:
        """Count a saved tensor."""
        storage = tensor.untyped_storage()
        # Not its address in memory, which storages without values do not have.
        if storage._cdata not in self._seen:
            self._seen.add(storage._cdata)
            self.total += storage.nbytes()
        return tensor


def step_mib(spec: NetworkSpec, window: Size, batch_size: int, config: TrainingConfig) -> float:
    """MiB of a training step in fp32: one sample is measured, and counts for each of a batch.

    Args:
        spec: The network.
        window: Voxels of a patch.
        batch_size: Patches of a step.
        config: Says the optimiser.
    """
    kept = KeptBytes()
    # Shapes without values: the same tensors are kept, and nothing is computed.
    with torch.device("meta"):
        network, image = build_network(spec), torch.zeros(2, spec.in_channels, *window)
    with torch.autograd.graph.saved_tensors_hooks(kept.note, lambda tensor: tensor):
        logits = network(image)
    # The loss keeps the logits, their probabilities and the targets, and gradients come on top.
    per_sample = kept.total / 2 + 4 * _BYTES * logits[0].numel()
    optimizer = make_optimizer(config, network.parameters())
    needed: float = batch_size * per_sample / MIB + weights_mib(network, optimizer)
    return needed


def weights_mib(network: nn.Module, optimizer: Optimizer) -> float:
    """MiB of weights, their gradients and what the optimiser keeps of them, in fp32."""
    numbers = 0
    for parameter in network.parameters():
        kept = state_shapes(optimizer, parameter).values()
        numbers += 2 * parameter.numel() + sum(shape.numel() for shape in kept)
    return numbers * _BYTES / MIB
