"""How much memory a prediction takes, estimated before it starts."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lunet_cli.config.network import NetworkSpec, count_parameters
from lunet_cli.engine.checkpoints.checkpoint import ModelCard
from lunet_cli.engine.data.preprocessing import Placement

_MIB = 2**20
_PROCESS_MIB = 350  # Python with torch and SimpleITK, and what their libraries keep for themselves.
_FLOAT_BYTES = 4


@dataclass(frozen=True)
class Estimate:
    """Memory in MiB.

    Args:
        volume_mib: The image as it is stored and, where it is resampled, on the network's grid; the result.
        slab_mib: The logits of the windows that are not finished yet.
        network_mib: Activations of one batch of windows, and the weights.
    """

    volume_mib: float
    slab_mib: float
    network_mib: float

    @property
    def total_mib(self) -> float:
        """All of it, and the process itself."""
        return _PROCESS_MIB + self.volume_mib + self.slab_mib + self.network_mib


def estimate_memory(
    card: ModelCard,
    placement: Placement,
    *,
    window: tuple[int, int, int],
    rows: int,
    num_windows: int,
    batch_size: int,
    num_members: int,
    averages: bool,
    with_probabilities: bool,
) -> Estimate:
    """Estimate the peak of a prediction on a CPU.

    Args:
        card: The network.
        placement: The two grids.
        window: Voxels (D, H, W) of a window.
        rows: Rows of the network's grid that are worked on at once.
        num_windows: Windows of the volume.
        batch_size: Windows per forward pass.
        num_members: Networks of the ensemble.
        averages: Whether probabilities of several forward passes are averaged.
        with_probabilities: Whether probability maps are made (in a file, of which pages stay in memory).
    """
    spec, code_bytes = card.network, card.labels.code_type.itemsize
    stored, grid = math.prod(placement.stored.size), math.prod(placement.grid.size)
    # While a file is read, ITK's image and the bytes behind it are in memory together, hence twice float32.
    image = spec.in_channels * stored * _FLOAT_BYTES + stored * _FLOAT_BYTES
    resampled = spec.in_channels * grid * _FLOAT_BYTES if placement.is_resampled else 0
    maps = len(card.labels.regions) * stored * _FLOAT_BYTES if with_probabilities else 0
    slab = 0
    if num_windows > 1:
        width = max(placement.grid.size[2], window[2])
        slab = (spec.out_channels + 1) * window[0] * rows * width * _FLOAT_BYTES
    batch = min(batch_size, num_windows) * math.prod(window) * _FLOAT_BYTES
    activations = batch * (activation_channels(spec) + spec.out_channels * (6 if averages else 2))
    weights = num_members * _FLOAT_BYTES * 2 * count_parameters(spec)
    return Estimate(
        (image + resampled + maps + 2 * stored * code_bytes) / _MIB, slab / _MIB, (activations + weights) / _MIB
    )


def activation_channels(spec: NetworkSpec) -> float:
    """Values per input voxel that a forward pass keeps at its peak, as channels at full resolution.

    Skips stay until the decoder takes them. At full resolution there are also the concatenation, the input and the
    output of a convolution, and the copy that oneDNN makes in its own layout.
    """
    if spec.topology == "mednext":
        widest = max(spec.expansion_ratios, default=4)
        return (
            spec.in_channels
            + sum(c * 0.125**level for level, c in enumerate(spec.channels))
            + 3 * widest * spec.channels[0]
        )
    nodes = spec.num_levels if spec.topology == "unetpp" else 1
    kept = sum(width * min(nodes, spec.num_levels - level) * 0.125**level for level, width in enumerate(spec.channels))
    concatenated = (nodes + 1) * spec.channels[0]
    # oneDNN fills channels up to blocks of 16.
    block = 16 * math.ceil(spec.channels[0] / 16)
    return spec.in_channels + kept + 2 * concatenated + 3 * block
