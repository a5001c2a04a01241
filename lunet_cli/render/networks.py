"""The parts of a drawing of a network, whatever it is drawn with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lunet_cli.config.network import NetworkSpec, level_costs
from lunet_cli.results.words import visible

_EDGE = 64  # of the cube that voxels and FLOPs are told for, if the network can halve it
_DEEPEST_ROOM = 0.4


@dataclass(frozen=True)
class Level:
    """One resolution of a network.

    Args:
        edge: Voxels along each axis.
        channels: Channels.
        num_nodes: Blocks at this level: 2 of a U-Net, 1 at the bottleneck, more of a UNet++.
        parameters: Of all its layers.
        flops: Of all its convolutions.
    """

    edge: int
    channels: int
    num_nodes: int
    parameters: int
    flops: int


@dataclass(frozen=True)
class Drawing:
    """A network by levels, from full resolution to the bottleneck."""

    name: str
    levels: tuple[Level, ...]

    @property
    def parameters(self) -> int:
        """Of all levels."""
        return sum(level.parameters for level in self.levels)

    @property
    def flops(self) -> int:
        """Of all levels, for one volume of the voxels at full resolution."""
        return sum(level.flops for level in self.levels)

    @property
    def title(self) -> str:
        """Name and cost in words."""
        gflop, edge = self.flops / 1e9, self.levels[0].edge
        return f"{self.name}: {self.parameters:,} parameters, {gflop:.3f} GFLOP at {edge}^3 voxels"


def draw_levels(name: str, spec: NetworkSpec) -> Drawing:
    """What is drawn of a network."""
    size = max(_EDGE, spec.total_stride)
    deepest = spec.num_levels - 1
    levels = []
    for cost in level_costs(spec, (size, size, size)):
        is_nested = spec.topology == "unetpp"
        num_nodes = deepest - cost.level + 1 if is_nested else (1 if cost.level == deepest else 2)
        levels.append(
            Level(size >> cost.level, cost.channels, num_nodes, cost.parameters, cost.flops)
        )
    return Drawing(visible(name), tuple(levels))


def room(index: int, num_levels: int) -> float:
    """Share of a drawing's width for the blocks of a level: less for deeper ones, which gives it its shape."""
    return 1 - (1 - _DEEPEST_ROOM) * index / max(1, num_levels - 1)


def width_per_channel(drawings: Sequence[Drawing], gap: float) -> float:
    """The largest scale at which the blocks of every level of every network find room.

    Args:
        drawings: Networks that are drawn at one scale.
        gap: Between two blocks of a level, as a share of the drawing's width.

    Returns:
        Share of the drawing's width for one channel.
    """
    return min(
        min(
            _DEEPEST_ROOM,
            (room(index, len(drawing.levels)) - gap * (level.num_nodes - 1)) / level.num_nodes,
        )
        / level.channels
        for drawing in drawings
        for index, level in enumerate(drawing.levels)
    )


def compared(first: Drawing, second: Drawing) -> str:
    """How two networks differ in cost, in words."""
    return (
        f"{second.name} has {_times(second.parameters, first.parameters)} parameters and "
        f"{_times(second.flops, first.flops)} FLOPs of {first.name}."
    )


def _times(value: int, of: int) -> str:
    return f"{value / of:.1f} times the" if value >= of else f"1/{of / value:.1f} of the"
