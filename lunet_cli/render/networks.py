"""The parts of a drawing of a network, whatever it is drawn with."""

from __future__ import annotations

from dataclasses import dataclass

from lunet_cli.config.network import NetworkSpec, level_costs

EDGE = 64  # of the cube that voxels and FLOPs are told for


@dataclass(frozen=True)
class Level:
    """One resolution of a network.

    Args:
        edge: Voxels along each axis, of 64 at full resolution.
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
        """Of all levels, for one volume of 64 x 64 x 64 voxels."""
        return sum(level.flops for level in self.levels)

    @property
    def title(self) -> str:
        """Name and cost in words."""
        return f"{self.name}: {self.parameters:,} parameters, {self.flops / 1e9:.3f} GFLOP at {EDGE}^3 voxels"


def draw_levels(name: str, spec: NetworkSpec) -> Drawing:
    """What is drawn of a network."""
    size = max(EDGE, spec.total_stride)
    deepest = spec.num_levels - 1
    levels = []
    for cost in level_costs(spec, (size, size, size)):
        is_nested = spec.topology == "unetpp"
        num_nodes = deepest - cost.level + 1 if is_nested else (1 if cost.level == deepest else 2)
        levels.append(Level(size >> cost.level, cost.channels, num_nodes, cost.parameters, cost.flops))
    return Drawing(name, tuple(levels))
