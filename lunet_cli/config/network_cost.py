"""What a network costs, and whether it can be built at all, without building it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lunet_cli.config.layers import Graph, Operation, graph_of, level_widths
from lunet_cli.config.network import NetworkSpec

# Far beyond every network of the field, and small enough that counting what a network costs takes
# no time. The largest preset has 10^8 parameters; 10^9 take 4 GB.
_MOST_LEVELS = 10
_MOST_PER_BLOCK = 64
_MOST_CHANNELS = 1 << 16
_MOST_PARAMETERS = 1_000_000_000


@dataclass(frozen=True)
class LevelCost:
    """What all operations of one level cost together.

    Args:
        level: 0 is the full resolution.
        channels: Of its widest layer; of a MedNeXt, of its residual stream.
        parameters: Weights and biases.
        flops: Twice the multiply-accumulates of the convolutions.
    """

    level: int
    channels: int
    parameters: int
    flops: int


def count_parameters(spec: NetworkSpec) -> int:
    """Number of trainable parameters, equal to that of the built network."""
    graph = graph_of(spec)
    return sum(_parameters(graph, operation) for operation in graph.operations.values())


def count_conv_flops(spec: NetworkSpec, size: tuple[int, int, int] = (64, 64, 64)) -> int:
    """Twice the multiply-accumulates of all convolutions in one forward pass of one volume.

    Args:
        spec: The network.
        size: Voxels per axis, each a multiple of `spec.total_stride`.
    """
    return sum(level.flops for level in level_costs(spec, size))


def level_costs(spec: NetworkSpec, size: tuple[int, int, int] = (64, 64, 64)) -> list[LevelCost]:
    """Parameters and convolution FLOPs per level, from full resolution to the bottleneck."""
    graph = graph_of(spec)
    parameters = [0] * spec.num_levels
    flops = [0] * spec.num_levels
    for operation in graph.operations.values():
        level = operation.level
        parameters[level] += _parameters(graph, operation)
        voxels = math.prod(size) >> (3 * level)
        flops[level] += 2 * _macs_per_voxel(graph, operation) * voxels
    costs = zip(level_widths(spec), parameters, flops, strict=True)
    return [LevelCost(level, *values) for level, values in enumerate(costs)]


def _macs_per_voxel(graph: Graph, operation: Operation) -> int:
    """Multiply-accumulates per voxel: one for each weight of a convolution."""
    weights = graph.width(operation.target) * operation.kernel_voxels
    if operation.is_depthwise:
        return weights
    return weights * graph.channels_into(operation.module)


def _parameters(graph: Graph, operation: Operation) -> int:
    """Weights, and a bias for each channel; two values for each where it is a normalisation."""
    width = graph.width(operation.target)
    if operation.kernel_voxels == 0:
        return 2 * width
    return _macs_per_voxel(graph, operation) + width


def require_buildable(spec: NetworkSpec) -> None:
    """Raise if a specification does not describe a network, or one that no machine here could hold.

    Raises:
        ValueError: It names the first thing that is wrong.
    """
    if not 2 <= spec.num_levels <= _MOST_LEVELS:
        raise ValueError(f"channels of {spec.num_levels} levels, not of 2 to {_MOST_LEVELS}")
    stages = 0
    if spec.topology == "mednext":
        stages = 2 * spec.num_levels - 1
    for name, values in (
        ("expansion_ratios", spec.expansion_ratios),
        ("blocks_per_stage", spec.blocks_per_stage),
    ):
        if len(values) != stages:
            raise ValueError(
                f"{len(values)} {name} where {spec.family} with these levels has {stages}"
            )
        _require_range(name, values, _MOST_PER_BLOCK)
    _require_range("channels", spec.channels, _MOST_CHANNELS)
    _require_range("in_channels", [spec.in_channels], _MOST_CHANNELS)
    _require_range("out_channels", [spec.out_channels], _MOST_CHANNELS)
    _require_range("convs_per_block", [spec.convs_per_block], _MOST_PER_BLOCK)
    _require_range("kernel_size", [spec.kernel_size], _MOST_PER_BLOCK)
    if spec.kernel_size % 2 == 0:
        raise ValueError(f"kernel_size {spec.kernel_size} is not odd")
    if not 0 <= spec.dropout < 1:
        raise ValueError(f"dropout {spec.dropout:g} is not a probability below 1")
    _require_range("widths", spec.widths, _MOST_CHANNELS)
    for probability in spec.dropouts:
        if not 0 <= probability < 1:
            raise ValueError(f"dropouts hold {probability:g}, not a probability below 1")
    parameters = count_parameters(spec)  # Raises where widths or dropouts are not as many.
    if parameters > _MOST_PARAMETERS:
        raise ValueError(
            f"{parameters:.3g} parameters are more than the {_MOST_PARAMETERS:.0e} possible"
        )


def _require_range(name: str, values: Sequence[int], highest: int) -> None:
    for value in values:
        if not 1 <= value <= highest:
            raise ValueError(f"{name} hold a value outside of 1 to {highest}")
