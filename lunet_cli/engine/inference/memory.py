"""How much memory a prediction takes, estimated before it starts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lunet_cli.config.layers import layers, level_widths
from lunet_cli.config.network import NetworkSpec
from lunet_cli.config.network_cost import count_parameters
from lunet_cli.config.vocabulary import Size
from lunet_cli.engine.checkpoints.checkpoint import ModelCard
from lunet_cli.engine.data.volume import Placement

_MIB = 2**20
# Python with torch and SimpleITK, and what their libraries keep for themselves.
_PROCESS_MIB = 380
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


@dataclass(frozen=True, kw_only=True)
class Workload:
    """How a volume goes through the networks.

    Args:
        window: Voxels (D, H, W) of a window.
        rows: Rows of the network's grid that are worked on at once.
        num_windows: Windows of the volume.
        batch_size: Windows per forward pass.
        averages: Whether probabilities of several forward passes are averaged.
        with_probabilities: Whether probability maps are made (in a file, of which pages stay in
            memory).
    """

    window: Size
    rows: int
    num_windows: int
    batch_size: int
    averages: bool
    with_probabilities: bool


def estimate_memory(
    cards: Sequence[ModelCard], placement: Placement, workload: Workload
) -> Estimate:
    """Estimate the peak of a prediction on a CPU.

    Args:
        cards: The networks of the ensemble; labels and preprocessing are those of the first.
        placement: The grid of the file and that of the network.
        workload: How the volume goes through them.
    """
    return Estimate(
        _volume_bytes(cards[0], placement, workload.with_probabilities) / _MIB,
        _slab_bytes(cards[0].network, placement, workload) / _MIB,
        _network_bytes([card.network for card in cards], workload) / _MIB,
    )


def estimate_one_pass(
    cards: Sequence[ModelCard],
    placement: Placement,
    flow_bytes: int,
    *,
    with_probabilities: bool,
    reads_planes: bool,
    keeps_result: bool,
) -> Estimate:
    """Estimate the peak of a prediction in one pass.

    Args:
        cards: The networks of the ensemble; labels and preprocessing are those of the first.
        placement: The grid of the file and that of the network.
        flow_bytes: What planes take on their way through the networks.
        with_probabilities: Whether probability maps are made.
        reads_planes: Whether planes are read when they are needed.
        keeps_result: Whether the result is kept until it is whole.
    """
    weights = _weight_bytes([card.network for card in cards])
    if not reads_planes:
        volume = _volume_bytes(cards[0], placement, with_probabilities)
    elif keeps_result:
        volume = _result_bytes(cards[0], placement, with_probabilities)
    else:
        volume = 0
    return Estimate(volume / _MIB, 0.0, (flow_bytes + weights) / _MIB)


def _weight_bytes(networks: Sequence[NetworkSpec]) -> int:
    """The weights as they were loaded, and as the runtime lays them out."""
    return _FLOAT_BYTES * 2 * sum(map(count_parameters, networks))


def _volume_bytes(card: ModelCard, placement: Placement, with_probabilities: bool) -> int:
    stored, in_channels = math.prod(placement.stored.size), card.network.in_channels
    # While a file is read, ITK's image and the bytes behind it are in memory together, hence one
    # channel more.
    found = (in_channels + 1) * stored * _FLOAT_BYTES
    if placement.is_resampled:
        found += in_channels * math.prod(placement.grid.size) * _FLOAT_BYTES
    # The label map that is made of the codes.
    found += stored * card.labels.code_type.itemsize
    return found + _result_bytes(card, placement, with_probabilities)


def _result_bytes(card: ModelCard, placement: Placement, with_probabilities: bool) -> int:
    """The codes of the regions, and their probabilities."""
    per_voxel = card.labels.code_type.itemsize
    if with_probabilities:
        per_voxel += len(card.labels.regions) * _FLOAT_BYTES
    return math.prod(placement.stored.size) * per_voxel


def _slab_bytes(spec: NetworkSpec, placement: Placement, workload: Workload) -> int:
    # The logits of a single window are handed on as they are.
    if workload.num_windows == 1:
        return 0
    depth, width = workload.window[0], max(placement.grid.size[2], workload.window[2])
    return (spec.out_channels + 1) * depth * workload.rows * width * _FLOAT_BYTES


def _network_bytes(networks: Sequence[NetworkSpec], workload: Workload) -> float:
    num_voxels = min(workload.batch_size, workload.num_windows) * math.prod(workload.window)
    # Logits and their float32 copy; an average also holds two logarithms and two sums.
    copies_of_logits = 2
    if workload.averages:
        copies_of_logits = 6
    values = max(map(activation_channels, networks)) + networks[0].out_channels * copies_of_logits
    return num_voxels * _FLOAT_BYTES * values + _weight_bytes(networks)


def activation_channels(spec: NetworkSpec) -> float:
    """Values per input voxel that a forward pass holds at its peak, as channels at full resolution.

    Skips stay until the decoder takes them. At full resolution there are also the concatenation,
    and the input, output and working copy of a convolution. A test holds the estimate against
    measured peaks.
    """
    nodes = spec.num_levels if spec.topology == "unetpp" else 1
    kept = 0.0
    widths = level_widths(spec)
    for level, width in enumerate(widths):
        # Each level has an eighth of the voxels of the one above.
        kept += width * min(nodes, spec.num_levels - level) * 0.125**level
    if spec.topology == "mednext":
        return spec.in_channels + kept + 8 * _widest_hidden(spec) + 2 * widths[0]
    # In bf16, oneDNN works on blocks of 16 channels.
    working = max(3 * widths[0], 16)
    concatenated = (nodes + 1) * widths[0]
    return spec.in_channels + kept + 2 * concatenated + working + 2


def _widest_hidden(spec: NetworkSpec) -> float:
    """Channels that the widest block of a MedNeXt at full resolution expands to.

    Pruning leaves blocks that expand by another ratio than they were built with.
    """
    widest = 0.0
    for layer in layers(spec):
        if layer.level > 0 or layer.name.startswith("streams."):
            continue
        # The block that comes up from half the resolution has twice as many, and one copy of them.
        copies = 1.0
        if layer.name.startswith("ups."):
            copies = 0.5
        widest = max(widest, layer.width * copies)
    return widest
