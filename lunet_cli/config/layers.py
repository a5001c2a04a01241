"""A network layer by layer, from its specification: what is built, counted and pruned by one table.

A layer is a set of channels that are made together and can only be removed together. An operation
is a module with weights, which reads the channels of layers and makes those of one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TypeVar

from lunet_cli.config.network import NetworkSpec

IMAGE, LOGITS = "image", "logits"
"""The layers at both ends, whose channels are those of the data."""

# Weights of a 3x3x3 kernel, and of the 2x2x2 one of an upsampling, per pair of channels.
_CONV_VOXELS, _UP_VOXELS = 27, 8
_STREAM = "streams."
_Value = TypeVar("_Value", int, float)


@dataclass(frozen=True, kw_only=True)
class Layer:
    """Channels that are made together and can only be removed together.

    Args:
        name: Path of the module that makes them; `streams.LEVEL` for the residual stream of a
            MedNeXt, which encoder, skip and decoder of a level share.
        level: Its resolution, 0 is the full one.
        width: Channels.
        dropout: Probability of dropout behind it while training; None where there is none.
        taps: Paths of the modules whose outputs have these channels, behind the activation. Of a
            stream, those whose outputs are added up in it.
    """

    name: str
    level: int
    width: int
    dropout: float | None = None
    taps: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Operation:
    """A convolution or normalisation.

    Args:
        module: Path of the module.
        part: Where it stands: `encoder`, `bottleneck`, `decoder`, `up`, `down`, `stem` or `head`.
        level: The level whose voxels its multiply-accumulates are counted over.
        sources: Layers whose channels it reads, in the order in which they are concatenated.
        target: Layer whose channels it makes, or changes in their place.
        kernel_voxels: Voxels that the kernel covers; 0 for a normalisation.
        is_depthwise: Whether each channel has a kernel of its own and reads no other.
    """

    module: str
    part: str
    level: int
    sources: tuple[str, ...]
    target: str
    kernel_voxels: int
    is_depthwise: bool = False


class Graph:
    """All layers and operations of a network.

    Args:
        spec: The network.
        layers: By their names, in the order of `NetworkSpec.widths`.
        operations: In no order that matters.
    """

    def __init__(
        self, spec: NetworkSpec, layers: Mapping[str, Layer], operations: Sequence[Operation]
    ) -> None:
        self.layers = layers
        self.operations = {operation.module: operation for operation in operations}
        self._ends = {IMAGE: spec.in_channels, LOGITS: spec.out_channels}

    def width(self, name: str) -> int:
        """Channels of a layer."""
        if name in self._ends:
            return self._ends[name]
        return self.layers[name].width

    def dropout(self, name: str) -> float:
        """Probability of dropout behind a layer."""
        return self.layers[name].dropout or 0.0

    def channels_into(self, module: str) -> int:
        """Channels that an operation reads."""
        return sum(map(self.width, self.operations[module].sources))


def layers(spec: NetworkSpec) -> tuple[Layer, ...]:
    """The layers of a network, in the order of `NetworkSpec.widths`."""
    return tuple(graph_of(spec).layers.values())


def widths_of(spec: NetworkSpec) -> dict[str, int]:
    """Channels by layer."""
    return {layer.name: layer.width for layer in layers(spec)}


def with_layers(
    spec: NetworkSpec,
    *,
    widths: Mapping[str, int] | None = None,
    dropouts: Mapping[str, float] | None = None,
) -> NetworkSpec:
    """The same network with other channels, or other dropout, in some layers.

    Args:
        spec: The network.
        widths: Channels by layer; layers that are left out keep theirs.
        dropouts: Probabilities by layer, of layers that have dropout.
    """
    new_widths, new_dropouts = [], []
    for layer in layers(spec):
        new_widths.append((widths or {}).get(layer.name, layer.width))
        if layer.dropout is not None:
            new_dropouts.append((dropouts or {}).get(layer.name, layer.dropout))
    return replace(spec, widths=tuple(new_widths), dropouts=tuple(new_dropouts))


def level_widths(spec: NetworkSpec) -> list[int]:
    """Channels of the widest layer of each level, from full resolution to the bottleneck.

    Of a MedNeXt, those of the residual stream: what a block expands to is not seen outside of it.
    """
    widest = [0] * spec.num_levels
    for layer in layers(spec):
        if spec.topology != "mednext" or layer.name.startswith(_STREAM):
            widest[layer.level] = max(widest[layer.level], layer.width)
    return widest


@lru_cache(maxsize=64)
def graph_of(spec: NetworkSpec) -> Graph:
    """The table of a network.

    Raises:
        ValueError: It has another number of layers than `spec` has widths or dropouts for.
    """
    drafts = {"unet": _unet, "unetpp": _unetpp, "mednext": _mednext}
    draft = _Draft(spec)
    drafts[spec.topology](draft, spec)
    return draft.finish()


class _Draft:
    """A table that grows layer by layer."""

    def __init__(self, spec: NetworkSpec) -> None:
        self._spec = spec
        self._layers: dict[str, Layer] = {}
        self._operations: list[Operation] = []

    def add_layer(
        self, name: str, level: int, width: int, *taps: str, dropout: float | None = None
    ) -> None:
        """Add a layer with the channels that its family gives it."""
        layer = Layer(name=name, level=level, width=width, dropout=dropout, taps=taps)
        self._layers[name] = layer

    def add(
        self,
        module: str,
        part: str,
        level: int,
        sources: Sequence[str],
        target: str,
        kernel_voxels: int,
    ) -> None:
        """Add a convolution, or a normalisation with `kernel_voxels` of 0."""
        operation = Operation(
            module=module,
            part=part,
            level=level,
            sources=tuple(sources),
            target=target,
            kernel_voxels=kernel_voxels,
        )
        self._operations.append(operation)

    def add_depthwise(self, module: str, part: str, level: int, layer: str, edge: int) -> None:
        """Add a convolution that changes a layer channel by channel."""
        operation = Operation(
            module=module,
            part=part,
            level=level,
            sources=(layer,),
            target=layer,
            kernel_voxels=edge**3,
            is_depthwise=True,
        )
        self._operations.append(operation)

    def add_unit(
        self,
        name: str,
        part: str,
        level: int,
        sources: Sequence[str],
        *,
        dropout: float | None = None,
    ) -> str:
        """Add a 3x3x3 convolution with ReLU and normalisation; return its name."""
        width = self._spec.channels[level]
        self.add_layer(name, level, width, f"{name}.activation", dropout=dropout)
        self.add(f"{name}.conv", part, level, sources, name, _CONV_VOXELS)
        self.add(f"{name}.norm", part, level, [name], name, 0)
        return name

    def add_block(
        self, name: str, part: str, level: int, sources: Sequence[str], num_convs: int
    ) -> str:
        """Add units in a row; return the name of the last."""
        for index in range(num_convs):
            unit = f"{name}.{index}"
            sources = [self.add_unit(unit, part, level, sources, dropout=self._spec.dropout)]
        return sources[0]

    def add_upsampling(self, name: str, level: int, source: str) -> str:
        """Add the doubling of resolution to `level`; return its name."""
        self.add_layer(name, level, self._spec.channels[level], name)
        self.add(name, "up", level + 1, [source], name, _UP_VOXELS)
        return name

    def add_head(self, source: str) -> None:
        """Add the segmenter and the 1x1x1 convolution to the logits."""
        segmenter = self.add_unit("head.0", "head", 0, [source])
        self.add("head.1", "head", 0, [segmenter], LOGITS, 1)

    def finish(self) -> Graph:
        """The table, with the widths and dropouts of the specification where it has some."""
        widths = _override("widths", self._spec.widths, len(self._layers))
        with_dropout = [layer for layer in self._layers.values() if layer.dropout is not None]
        dropouts = _override("dropouts", self._spec.dropouts, len(with_dropout))
        for name, layer in self._layers.items():
            width = next(widths, layer.width)
            dropout = layer.dropout
            if dropout is not None:
                dropout = next(dropouts, dropout)
            self._layers[name] = replace(layer, width=width, dropout=dropout)
        return Graph(self._spec, self._layers, self._operations)


def _override(what: str, values: tuple[_Value, ...], expected: int) -> Iterator[_Value]:
    if values and len(values) != expected:
        raise ValueError(f"{len(values)} {what} where the network has {expected}")
    return iter(values)


def _encoder(draft: _Draft, spec: NetworkSpec) -> list[str]:
    """Add the way down; return the last layer of each level."""
    ends: list[str] = []
    part = "encoder"
    for level in range(spec.num_levels):
        if level == spec.num_levels - 1:
            part = "bottleneck"
        sources = ends[-1:] or [IMAGE]
        ends.append(
            draft.add_block(f"encoders.{level}", part, level, sources, spec.convs_per_block)
        )
    return ends


def _decoder_convs(spec: NetworkSpec, *, is_last: bool) -> int:
    """Convolutions of a decoder block; the last one gives one to the segmenter."""
    # As in the authors' release: the segmenter of the head is the last unit of this block.
    if is_last:
        return max(1, spec.convs_per_block - 1)
    return spec.convs_per_block


def _unet(draft: _Draft, spec: NetworkSpec) -> None:
    *skips, end = _encoder(draft, spec)
    for index, level in enumerate(reversed(range(spec.num_levels - 1))):
        up = draft.add_upsampling(f"upsamples.{index}", level, end)
        num_convs = _decoder_convs(spec, is_last=level == 0)
        end = draft.add_block(f"decoders.{index}", "decoder", level, [up, skips[level]], num_convs)
    draft.add_head(end)


def _unetpp(draft: _Draft, spec: NetworkSpec) -> None:
    rows = [[end] for end in _encoder(draft, spec)]
    for column in range(1, spec.num_levels):
        num_convs = _decoder_convs(spec, is_last=column == spec.num_levels - 1)
        for level in range(spec.num_levels - column):
            node = f"{level}_{column}"
            up = draft.add_upsampling(f"upsamples.{node}", level, rows[level + 1][column - 1])
            sources = [*rows[level], up]
            rows[level].append(
                draft.add_block(f"nested.{node}", "decoder", level, sources, num_convs)
            )
    draft.add_head(rows[0][-1])


def _mednext(draft: _Draft, spec: NetworkSpec) -> None:
    deepest = spec.num_levels - 1
    for level, width in enumerate(spec.channels):
        draft.add_layer(f"{_STREAM}{level}", level, width, *_producers(spec, level))
    draft.add("stem", "stem", 0, [IMAGE], f"{_STREAM}0", 1)
    for level in range(deepest):
        _add_stage(draft, spec, f"encoders.{level}", "encoder", stage=level)
    for level in range(deepest):
        _add_resampling(draft, spec, f"downs.{level}", "down", (level, level + 1))
    _add_stage(draft, spec, "bottleneck", "bottleneck", stage=deepest)
    for level in range(deepest):
        _add_resampling(draft, spec, f"ups.{level}", "up", (level + 1, level))
    for level in range(deepest):
        _add_stage(draft, spec, f"decoders.{level}", "decoder", stage=2 * deepest - level)
    draft.add("out_conv", "head", 0, [f"{_STREAM}0"], LOGITS, 1)


def _producers(spec: NetworkSpec, level: int) -> Iterator[str]:
    """The modules whose outputs are added up in the residual stream of a level."""
    deepest = spec.num_levels - 1
    yield f"downs.{level - 1}" if level else "stem"
    stages = {f"encoders.{level}": level, f"decoders.{level}": 2 * deepest - level}
    if level == deepest:
        stages = {"bottleneck": deepest}
    else:
        yield f"ups.{level}"
    for name, stage in stages.items():
        for index in range(spec.blocks_per_stage[stage]):
            yield f"{name}.{index}.conv_compress"


def _add_stage(draft: _Draft, spec: NetworkSpec, name: str, part: str, *, stage: int) -> None:
    """Add the residual blocks of a stage, counted from the first of the encoder."""
    level = min(stage, 2 * (spec.num_levels - 1) - stage)
    for index in range(spec.blocks_per_stage[stage]):
        block = f"{name}.{index}"
        ratio = spec.expansion_ratios[stage]
        _add_mednext_block(draft, spec, block, part, (level, level), ratio, level)


def _add_resampling(
    draft: _Draft, spec: NetworkSpec, name: str, part: str, levels: tuple[int, int]
) -> None:
    """Add the block that changes from one level to the next, with its residual projection."""
    source, target = levels
    stage = target
    if part == "up":
        stage = 2 * (spec.num_levels - 1) - target
    # A strided convolution counts over its output, a transposed one over its input.
    counted = max(levels)
    ratio = spec.expansion_ratios[stage]
    _add_mednext_block(draft, spec, name, part, levels, ratio, counted)
    draft.add(f"{name}.res_conv", part, counted, [f"{_STREAM}{source}"], f"{_STREAM}{target}", 1)


def _add_mednext_block(
    draft: _Draft,
    spec: NetworkSpec,
    name: str,
    part: str,
    levels: tuple[int, int],
    ratio: int,
    depthwise_level: int,
) -> None:
    source, target = f"{_STREAM}{levels[0]}", f"{_STREAM}{levels[1]}"
    level, hidden = levels[1], ratio * spec.channels[levels[0]]
    draft.add_layer(name, level, hidden, f"{name}.activation", dropout=spec.dropout)
    draft.add_depthwise(f"{name}.conv_dw", part, depthwise_level, source, spec.kernel_size)
    draft.add(f"{name}.norm", part, level, [source], source, 0)
    draft.add(f"{name}.conv_expand", part, level, [source], name, 1)
    draft.add(f"{name}.conv_compress", part, level, [name], target, 1)
