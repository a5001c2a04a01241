"""How much memory a prediction takes, estimated before it starts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lunet_cli.config.network import NetworkSpec, count_parameters
from lunet_cli.engine.checkpoints.checkpoint import ModelCard
from lunet_cli.engine.data.volume import Placement

_MIB = 2**20
_PROCESS_MIB = 380  # Python with torch and SimpleITK, and what their libraries keep for themselves.
_FLOAT_BYTES = 4


@dataclass(frozen=True)
class Estimate:
    """Memory in MiB.

    Args:
        volume_mib: The image as it is stored and, where it is resampled, on the network's grid; the
            result.
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
    networks: Sequence[NetworkSpec],
    placement: Placement,
    *,
    window: tuple[int, int, int],
    rows: int,
    num_windows: int,
    batch_size: int,
    averages: bool,
    with_probabilities: bool,
) -> Estimate:
    """Estimate the peak of a prediction on a CPU.

    Args:
        card: Labels and preprocessing.
        networks: The networks of the ensemble.
        placement: The two grids.
        window: Voxels (D, H, W) of a window.
        rows: Rows of the network's grid that are worked on at once.
        num_windows: Windows of the volume.
        batch_size: Windows per forward pass.
        averages: Whether probabilities of several forward passes are averaged.
        with_probabilities: Whether probability maps are made (in a file, of which pages stay in
            memory).
    """
    spec, code_bytes = card.network, card.labels.code_type.itemsize
    stored, grid = math.prod(placement.stored.size), math.prod(placement.grid.size)
    # While a file is read, ITK's image and the bytes behind it are in memory together, hence twice
    # float32.
    image = spec.in_channels * stored * _FLOAT_BYTES + stored * _FLOAT_BYTES
    resampled = spec.in_channels * grid * _FLOAT_BYTES if placement.is_resampled else 0
    maps = len(card.labels.regions) * stored * _FLOAT_BYTES if with_probabilities else 0
    slab = 0
    if num_windows > 1:
        width = max(placement.grid.size[2], window[2])
        slab = (spec.out_channels + 1) * window[0] * rows * width * _FLOAT_BYTES
    batch = min(batch_size, num_windows) * math.prod(window) * _FLOAT_BYTES
    activations = batch * (
        max(map(activation_channels, networks)) + spec.out_channels * (6 if averages else 2)
    )
    weights = _FLOAT_BYTES * 2 * sum(map(count_parameters, networks))
    return Estimate(
        (image + resampled + maps + 2 * stored * code_bytes) / _MIB,
        slab / _MIB,
        (activations + weights) / _MIB,
    )


def activation_channels(spec: NetworkSpec) -> float:
    """Values per input voxel that a forward pass holds at its peak, as channels at full resolution.

    Skips stay until the decoder takes them. At full resolution there are also the concatenation,
    and the input, output and working copy of a convolution. A test holds the estimate against
    measured peaks.
    """
    nodes = spec.num_levels if spec.topology == "unetpp" else 1
    kept: float = sum(
        width * min(nodes, spec.num_levels - level) * 0.125**level
        for level, width in enumerate(spec.channels)
    )
    if spec.topology == "mednext":
        return spec.in_channels + kept + (8 * spec.expansion_ratios[0] + 2) * spec.channels[0]
    working = max(3 * spec.channels[0], 16)  # In bf16, oneDNN works on blocks of 16 channels.
    concatenated = (nodes + 1) * spec.channels[0]
    return spec.in_channels + kept + 2 * concatenated + working + 2
