"""The parts of a drawing of a network, whatever it is drawn with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lunet_cli.config.network import NetworkSpec
from lunet_cli.config.network_cost import level_costs
from lunet_cli.results.words import visible

# Of the cube that voxels and FLOPs are told for, if the network can halve it: that of the published
# figures of Lean Unet (arXiv:2512.03834).
_EDGE = 64
# Of the width of a drawing, for the bottleneck: narrow enough for the shape of a U.
_DEEPEST_ROOM = 0.4


@dataclass(frozen=True, kw_only=True)
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
        num_nodes = 2
        if spec.topology == "unetpp":
            num_nodes = deepest - cost.level + 1
        elif cost.level == deepest:
            num_nodes = 1
        levels.append(
            Level(
                edge=size >> cost.level,
                channels=cost.channels,
                num_nodes=num_nodes,
                parameters=cost.parameters,
                flops=cost.flops,
            )
        )
    return Drawing(visible(name), tuple(levels))


def room(index: int, num_levels: int) -> float:
    """Share of a drawing's width for the blocks of a level: less for deeper ones, as in a U."""
    return 1 - (1 - _DEEPEST_ROOM) * index / max(1, num_levels - 1)


@dataclass(frozen=True, kw_only=True)
class Scale:
    """What networks that are drawn beside each other have in common.

    Args:
        width_per_channel: Share of the drawing's width for one channel.
        parameters: The most of any level.
        flops: The most of any level.
    """

    width_per_channel: float
    parameters: int
    flops: int

    @classmethod
    def of(cls, drawings: Sequence[Drawing], gap: float) -> Scale:
        """The largest scale at which the blocks of every level of every network find room.

        Args:
            drawings: The networks.
            gap: Between two blocks of a level, as a share of the drawing's width.
        """
        widths, parameters, flops = [], [], []
        for drawing in drawings:
            for index, level in enumerate(drawing.levels):
                free = room(index, len(drawing.levels)) - gap * (level.num_nodes - 1)
                # No block is wider than the bottleneck may be, so that lean networks look lean.
                widths.append(min(_DEEPEST_ROOM, free / level.num_nodes) / level.channels)
                parameters.append(level.parameters)
                flops.append(level.flops)
        return cls(width_per_channel=min(widths), parameters=max(parameters), flops=max(flops))


def compared(first: Drawing, second: Drawing) -> str:
    """How two networks differ in cost, in words."""
    return (
        f"{second.name} has {_times(second.parameters, first.parameters)} parameters and "
        f"{_times(second.flops, first.flops)} FLOPs of {first.name}."
    )


def _times(value: int, of: int) -> str:
    if value >= of:
        return f"{value / of:.1f} times the"
    return f"1/{of / value:.1f} of the"
