"""The description of a network as plain values, and what it costs, without building it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

Family = Literal["unet", "lunet", "unetpp", "lunetpp", "mednext"]
FAMILIES: tuple[Family, ...] = get_args(Family)

# Far beyond every network of the field, and small enough that counting what a network costs takes
# no time. The largest preset has 10^8 parameters; 10^9 take 4 GB.
_MOST_LEVELS = 10
_MOST_PER_BLOCK = 64
_MOST_CHANNELS = 1 << 16
_MOST_PARAMETERS = 1_000_000_000


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


@dataclass(frozen=True)
class LayerCost:
    """One layer with weights.

    Args:
        part: Where it stands: `encoder`, `bottleneck`, `decoder`, `up`, `down`, `stem` or `head`.
        level: The level whose voxels its multiply-accumulates are counted over.
        parameters: Weights and biases.
        macs_per_voxel: Multiply-accumulates per voxel of that level; 0 for a normalisation.
    """

    part: str
    level: int
    parameters: int
    macs_per_voxel: int


@dataclass(frozen=True)
class LevelCost:
    """What all layers of one level cost together."""

    level: int
    channels: int
    parameters: int
    flops: int


def layer_costs(spec: NetworkSpec) -> Iterator[LayerCost]:
    """Yield every layer with weights of the network that `spec` describes."""
    if spec.topology == "unet":
        return _unet_costs(spec)
    if spec.topology == "unetpp":
        return _unetpp_costs(spec)
    return _mednext_costs(spec)


def count_parameters(spec: NetworkSpec) -> int:
    """Number of trainable parameters, equal to that of the built network."""
    return sum(layer.parameters for layer in layer_costs(spec))


def count_conv_flops(spec: NetworkSpec, size: tuple[int, int, int] = (64, 64, 64)) -> int:
    """Twice the multiply-accumulates of all convolutions in one forward pass of one volume.

    Args:
        spec: The network.
        size: Voxels per axis, each a multiple of `spec.total_stride`.
    """
    return sum(level.flops for level in level_costs(spec, size))


def level_costs(spec: NetworkSpec, size: tuple[int, int, int] = (64, 64, 64)) -> list[LevelCost]:
    """Parameters and convolution FLOPs per level, from full resolution to the bottleneck."""
    parameters = [0] * spec.num_levels
    macs = [0] * spec.num_levels
    for layer in layer_costs(spec):
        parameters[layer.level] += layer.parameters
        macs[layer.level] += layer.macs_per_voxel * (math.prod(size) >> (3 * layer.level))
    return [LevelCost(i, c, parameters[i], 2 * macs[i]) for i, c in enumerate(spec.channels)]


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
    parameters = count_parameters(spec)
    if parameters > _MOST_PARAMETERS:
        raise ValueError(
            f"{parameters:.3g} parameters are more than the {_MOST_PARAMETERS:.0e} possible"
        )


def _require_range(name: str, values: Sequence[int], highest: int) -> None:
    for value in values:
        if not 1 <= value <= highest:
            raise ValueError(f"{name} hold a value outside of 1 to {highest}")


# Weights of a 3x3x3 kernel, and of the 2x2x2 one of an upsampling, per pair of channels.
_CONV_VOXELS, _UP_VOXELS = 27, 8


def _conv(part: str, level: int, in_channels: int, out_channels: int, volume: int) -> LayerCost:
    """A biased convolution whose kernel covers `volume` voxels."""
    weights = in_channels * out_channels * volume
    return LayerCost(part, level, weights + out_channels, weights)


def _block(
    part: str, level: int, in_channels: int, out_channels: int, num_convs: int
) -> Iterator[LayerCost]:
    """3x3x3 convolutions, each with its BatchNorm."""
    for _ in range(num_convs):
        yield _conv(part, level, in_channels, out_channels, _CONV_VOXELS)
        yield LayerCost(part, level, 2 * out_channels, 0)
        in_channels = out_channels


def _final_block(spec: NetworkSpec, in_channels: int) -> Iterator[LayerCost]:
    """The shallowest decoder block, the segmenter and the 1x1x1 output convolution."""
    width = spec.channels[0]
    yield from _block("decoder", 0, in_channels, width, max(1, spec.convs_per_block - 1))
    yield from _block("head", 0, width, width, 1)
    yield _conv("head", 0, width, spec.out_channels, 1)


def _encoder_costs(spec: NetworkSpec) -> Iterator[LayerCost]:
    part = "encoder"
    in_channels = spec.in_channels
    for level, width in enumerate(spec.channels):
        if level == spec.num_levels - 1:
            part = "bottleneck"
        yield from _block(part, level, in_channels, width, spec.convs_per_block)
        in_channels = width


def _unet_costs(spec: NetworkSpec) -> Iterator[LayerCost]:
    yield from _encoder_costs(spec)
    for level in reversed(range(spec.num_levels - 1)):
        width = spec.channels[level]
        yield _conv("up", level + 1, spec.channels[level + 1], width, _UP_VOXELS)
        if level:
            yield from _block("decoder", level, 2 * width, width, spec.convs_per_block)
    yield from _final_block(spec, 2 * spec.channels[0])


def _unetpp_costs(spec: NetworkSpec) -> Iterator[LayerCost]:
    yield from _encoder_costs(spec)
    for column in range(1, spec.num_levels):
        for level in range(spec.num_levels - column):
            width = spec.channels[level]
            yield _conv("up", level + 1, spec.channels[level + 1], width, _UP_VOXELS)
            # The last column is the final block, which takes all columns of the top level together.
            if column < spec.num_levels - 1:
                yield from _block(
                    "decoder", level, (column + 1) * width, width, spec.convs_per_block
                )
    yield from _final_block(spec, spec.num_levels * spec.channels[0])


def _mednext_block(
    part: str,
    spec: NetworkSpec,
    level: int,
    widths: tuple[int, int],
    ratio: int,
    dw_level: int | None = None,
) -> Iterator[LayerCost]:
    """One MedNeXt block at `level`; the depthwise convolution counts over `dw_level`'s voxels."""
    in_channels, out_channels = widths
    hidden = ratio * in_channels
    weights = in_channels * spec.kernel_size**3
    if dw_level is None:
        dw_level = level
    yield LayerCost(part, dw_level, weights + in_channels, weights)
    yield LayerCost(part, level, 2 * in_channels, 0)
    yield _conv(part, level, in_channels, hidden, 1)
    yield _conv(part, level, hidden, out_channels, 1)


def _mednext_costs(spec: NetworkSpec) -> Iterator[LayerCost]:
    deepest = spec.num_levels - 1
    ratios, blocks, channels = spec.expansion_ratios, spec.blocks_per_stage, spec.channels
    parts = [*["encoder"] * deepest, "bottleneck", *["decoder"] * deepest]
    yield _conv("stem", 0, spec.in_channels, channels[0], 1)
    for stage in range(2 * deepest + 1):
        level = min(stage, 2 * deepest - stage)
        widths = (channels[level], channels[level])
        for _ in range(blocks[stage]):
            yield from _mednext_block(parts[stage], spec, level, widths, ratios[stage])
        if stage < deepest:
            widths = (channels[level], channels[level + 1])
            yield from _mednext_block("down", spec, level + 1, widths, ratios[stage + 1])
            yield _conv("down", level + 1, *widths, 1)
        elif stage < 2 * deepest:
            widths = (channels[level], channels[level - 1])
            yield from _mednext_block(
                "up", spec, level - 1, widths, ratios[stage + 1], dw_level=level
            )
            yield _conv("up", level, *widths, 1)
    yield _conv("head", 0, channels[0], spec.out_channels, 1)
