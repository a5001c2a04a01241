"""The description of a network as plain values."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

Family = Literal["unet", "lunet", "unetpp", "lunetpp", "mednext"]
FAMILIES: tuple[Family, ...] = get_args(Family)


@dataclass(frozen=True)
class NetworkSpec:
    """Everything needed to build a network.

    A LUNet is a U-Net whose `channels` are the same at every level, a LUNet++ a UNet++ likewise:
    `topology` says which graph is built, `family` only names it for people.

    Args:
        family: The name people use for it.
        channels: Channels per level, from full resolution to the bottleneck.
        convs_per_block: 3x3x3 convolutions per block (U-Net and UNet++).
        in_channels: Image channels.
        out_channels: Logit channels.
        dropout: Probability of `Dropout3d` after each convolution of a block.
        kernel_size: Edge of the depthwise kernel (MedNeXt).
        expansion_ratios: Expansion per stage, from the first encoder to the last decoder stage
            (MedNeXt).
        blocks_per_stage: Residual blocks per stage, in the same order (MedNeXt).
        widths: Channels of each layer, in the order of `config.layers.layers`; empty where each has
            those that its family gives it. Pruning leaves networks with widths of their own.
        dropouts: Probability of dropout behind each layer that has some, in the same order; empty
            where all have `dropout`.
    """

    family: Family
    channels: tuple[int, ...]
    convs_per_block: int = 2
    in_channels: int = 1
    out_channels: int = 1
    dropout: float = 0.0
    kernel_size: int = 3
    expansion_ratios: tuple[int, ...] = field(default=())
    blocks_per_stage: tuple[int, ...] = field(default=())
    widths: tuple[int, ...] = field(default=())
    dropouts: tuple[float, ...] = field(default=())

    @property
    def topology(self) -> Literal["unet", "unetpp", "mednext"]:
        """The graph that this specification is built as."""
        if self.family == "mednext":
            return "mednext"
        return "unetpp" if self.family.endswith("pp") else "unet"

    @property
    def num_levels(self) -> int:
        """Number of resolutions."""
        return len(self.channels)

    @property
    def total_stride(self) -> int:
        """Input voxels per bottleneck voxel along each axis."""
        return 1 << (self.num_levels - 1)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        values = asdict(self)
        for name, value in values.items():
            if isinstance(value, tuple):
                values[name] = list(value)
        return values
