"""A network as operations on planes of its depth axis, for an exact evaluation in one pass.

Batch normalisation is folded away, in another way than in `folding.py`. With y = s relu(x) + t,

- |s| goes through the ReLU into the convolution before it, and the sign of s into the one behind;
- t goes into the bias of the one behind;
- where y would be padded with zeros, what is kept of it, |s| relu(x), is padded with -sign(s) t.

So no channel of ones is needed. Padding with a value takes a copy into a larger buffer, which a
stream makes anyway to have neighbouring planes side by side.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from lunet_cli.engine.networks.blocks import ConvUnit, SegmentationNetwork
from lunet_cli.engine.runtimes.folding import can_fold, scale_and_shift, trace_layers

INPUT = -1
"""In `sources`, the image; all others are indices of operations."""


@dataclass(frozen=True)
class Reach:
    """Which voxels of the image a value depends on.

    A value at index i of level l depends on the voxels from `i << l` minus `before` to `i << l`
    plus `after` along each axis. Where the axis is mirrored, both swap.

    Args:
        level: Resolution; each level halves it.
        before: Voxels of the image.
        after: Voxels of the image.
    """

    level: int
    before: int
    after: int


@dataclass(frozen=True, kw_only=True)
class Operation:
    """What a value is computed from.

    Args:
        sources: Operations whose channels it takes, in this order.
        channels: Channels that it gives.
        reach: What it depends on.
    """

    sources: tuple[int, ...]
    channels: int
    reach: Reach


@dataclass(frozen=True, kw_only=True)
class Convolution(Operation):
    """A 3x3x3 convolution and a ReLU.

    Args:
        weight: (out, in, 3, 3, 3), float64.
        bias: (out,), float64.
        pads: What surrounds each channel of the input (in,), float64.
    """

    weight: Tensor
    bias: Tensor
    pads: Tensor


@dataclass(frozen=True, kw_only=True)
class Pooling(Operation):
    """The largest of 2x2x2 voxels.

    Args:
        signs: What each channel is multiplied by before (C,), float64; None where all are 1.
    """

    signs: Tensor | None


@dataclass(frozen=True, kw_only=True)
class Doubling(Operation):
    """A transposed convolution with kernel and stride 2.

    Args:
        weight: (in, out, 2, 2, 2), float64.
        bias: (out, 2, 2, 2), float64.
    """

    weight: Tensor
    bias: Tensor


@dataclass(frozen=True, kw_only=True)
class Projection(Operation):
    """A 1x1x1 convolution.

    Args:
        weight: (out, in), float64.
        bias: (out,), float64.
    """

    weight: Tensor
    bias: Tensor


@dataclass(frozen=True)
class PlaneGraph:
    """A network of which planes can flow through.

    Args:
        operations: In an order in which each comes after its sources; the last gives the logits.
        in_channels: Image channels.
        stride: Voxels per voxel of the deepest level, along each axis.
        mirrored: Axes (0 to 2 for z, y, x) along which the network is mirrored.
    """

    operations: tuple[Operation, ...]
    in_channels: int
    stride: int
    mirrored: frozenset[int]

    @property
    def reach(self) -> Reach:
        """What a voxel of the logits depends on."""
        return self.operations[-1].reach


def can_flow(network: SegmentationNetwork) -> bool:
    """Whether every layer needs a few neighbouring planes only, and no average over the volume."""
    return can_fold(network)


def plane_graph(network: SegmentationNetwork, *, mirrored: Collection[int] = ()) -> PlaneGraph:
    """Take a network apart.

    Args:
        network: A U-Net or UNet++ of any widths, in evaluation mode.
        mirrored: Axes (0 to 2 for z, y, x) along which the network is to be mirrored: it then gives
            for an image what it would have given for the mirrored image, mirrored back. The padding
            to the stride belongs at the beginning of these axes.

    Raises:
        ValueError: A layer is not of the kinds that are known here.
    """
    if not can_flow(network):
        raise ValueError(f"the planes of {network.spec.family} cannot flow")
    return _Reading(network, frozenset(mirrored)).run()


@dataclass(frozen=True)
class _Value:
    """What is kept of a value y, which is sign * kept + shift, channel by channel.

    Args:
        sources: The operations that give its channels.
        sign: +1 or -1 (C,).
        shift: What is to be added (C,).
        reach: What it depends on.
    """

    sources: tuple[int, ...]
    sign: Tensor
    shift: Tensor
    reach: Reach


class _Reading:
    """The operations as they are found along the layers of a network."""

    def __init__(self, network: SegmentationNetwork, mirrored: frozenset[int]) -> None:
        self._layers, self._root = trace_layers(network)
        self._in_channels, self._mirrored = network.spec.in_channels, mirrored
        self._operations: list[Operation] = []
        self._values: dict[fx.Node, _Value] = {}

    def run(self) -> PlaneGraph:
        deepest = 0
        for node in self._layers.nodes:
            if node.op == "output":
                continue
            value = self._read(node)
            self._values[node] = value
            deepest = max(deepest, value.reach.level)
        return PlaneGraph(tuple(self._operations), self._in_channels, 1 << deepest, self._mirrored)

    def _read(self, node: fx.Node) -> _Value:
        if node.op == "placeholder":
            return self._plain((INPUT,), self._in_channels, Reach(0, 0, 0))
        if node.op == "call_function" and node.target is torch.cat:
            parts = node.args[0]
            assert isinstance(parts, list)
            return _joined([self._values[part] for part in parts])
        if node.op != "call_module" or not isinstance(node.args[0], fx.Node):
            raise ValueError(f"planes cannot flow through {node.format_node()}")
        module, source = self._root.get_submodule(str(node.target)), self._values[node.args[0]]
        if isinstance(module, ConvUnit):
            return self._read_unit(module, source)
        if len(source.sources) == 1:
            if isinstance(module, nn.MaxPool3d):
                return self._read_pooling(source)
            if isinstance(module, nn.ConvTranspose3d):
                return self._read_doubling(module, source)
            if isinstance(module, nn.Conv3d) and module.kernel_size == (1, 1, 1):
                return self._read_projection(module, source)
        raise ValueError(f"planes cannot flow through {node.format_node()}")

    def _read_unit(self, unit: ConvUnit, source: _Value) -> _Value:
        weight, bias, added = _absorb(unit.conv, source, axis=1)
        scale, shift = scale_and_shift(unit.norm)
        size = scale.abs()
        step = 1 << source.reach.level
        operation = Convolution(
            sources=source.sources,
            channels=len(scale),
            reach=Reach(source.reach.level, source.reach.before + step, source.reach.after + step),
            weight=self._turned(weight * size.view(-1, 1, 1, 1, 1)),
            bias=(bias + added.sum(dim=(1, 2, 3))) * size,
            pads=-source.sign * source.shift,
        )
        sign = torch.where(scale < 0, -1.0, 1.0).double()
        return _Value((self._add(operation),), sign, shift, operation.reach)

    def _read_pooling(self, source: _Value) -> _Value:
        reach = source.reach
        is_turned = bool((source.sign < 0).any())
        operation = Pooling(
            sources=source.sources,
            channels=len(source.sign),
            reach=Reach(reach.level + 1, reach.before, reach.after + (1 << reach.level)),
            # The largest of values with a negative scale is the smallest without it.
            signs=source.sign if is_turned else None,
        )
        sign = torch.ones_like(source.sign)
        return _Value((self._add(operation),), sign, source.shift, operation.reach)

    def _read_doubling(self, module: nn.ConvTranspose3d, source: _Value) -> _Value:
        weight, bias, added = _absorb(module, source, axis=0)
        level = source.reach.level - 1
        operation = Doubling(
            sources=source.sources,
            channels=len(bias),
            # Of two neighbours that come from one voxel, the second lies behind it.
            reach=Reach(level, source.reach.before + (1 << level), source.reach.after),
            weight=self._turned(weight),
            # Each voxel meets one tap.
            bias=self._turned(bias.view(1, -1, 1, 1, 1) + added)[0],
        )
        return self._plain((self._add(operation),), len(bias), operation.reach)

    def _read_projection(self, module: nn.Conv3d, source: _Value) -> _Value:
        weight, bias, added = _absorb(module, source, axis=1)
        operation = Projection(
            sources=source.sources,
            channels=len(bias),
            reach=source.reach,
            weight=weight.flatten(1),
            bias=bias + added.flatten(),
        )
        return self._plain((self._add(operation),), len(bias), operation.reach)

    def _add(self, operation: Operation) -> int:
        self._operations.append(operation)
        return len(self._operations) - 1

    def _plain(self, sources: tuple[int, ...], count: int, reach: Reach) -> _Value:
        ones = torch.ones(count, dtype=torch.double)
        return _Value(sources, ones, torch.zeros_like(ones), reach)

    def _turned(self, weight: Tensor) -> Tensor:
        """The weights (_, _, z, y, x) of a mirrored network."""
        return weight.flip([2 + axis for axis in self._mirrored])


def _joined(parts: list[_Value]) -> _Value:
    sources: tuple[int, ...] = ()
    for part in parts:
        sources += part.sources
    return _Value(
        sources,
        torch.cat([part.sign for part in parts]),
        torch.cat([part.shift for part in parts]),
        Reach(
            parts[0].reach.level,
            max(part.reach.before for part in parts),
            max(part.reach.after for part in parts),
        ),
    )


def _absorb(
    module: nn.Conv3d | nn.ConvTranspose3d, source: _Value, *, axis: int
) -> tuple[Tensor, Tensor, Tensor]:
    """What a layer is on what is kept of its input, in double precision.

    Each number is then rounded once, where it is used.

    Returns:
        Its weights; its biases; and what each tap adds to those (out, z, y, x), since the shift of
        the input went into it.
    """
    assert module.bias is not None
    exact = module.weight.detach().double()
    along = [1] * exact.ndim
    along[axis] = -1
    added = (exact * source.shift.view(along)).sum(dim=axis)
    return exact * source.sign.view(along), module.bias.detach().double(), added
