"""The operations of a `PlaneGraph` at work on the planes of one volume.

Planes are kept as (n, H, W, C), channels last. Each layer takes blocks of planes from its sources
and gives the planes that can be computed from them.

With few channels, most of the work of a convolution in vectors of 16 values is done for nothing. So
k voxels of a row are computed as k times the channels of one: the kernel becomes k - 1 voxels wider
and the stride k, the other weights are zeros, and the result lies in memory as it would without.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lunet_cli.engine.runtimes.plane_graph import (
    Convolution,
    Doubling,
    Operation,
    Pooling,
    Projection,
)
from lunet_cli.engine.runtimes.plane_queues import PlaneSource

# Values of a vector, in whose lanes the output channels of a convolution are computed.
_LANES = 16
# Of a product without neighbours, which is short of work, two vectors are computed at once.
_LANES_OF_PRODUCTS = 32
# Copies of single voxels run over the largest numbers that their bytes make up.
_NUMBERS = ((16, torch.complex128), (8, torch.int64), (4, torch.int32), (2, torch.int16))


@dataclass(frozen=True, kw_only=True)
class Planes:
    """The planes that a layer gives.

    Args:
        count: How many there are along the whole axis.
        height: Rows of a plane.
        width: Voxels of a row.
        per_step: How many are computed at once, at most.
        device: Where.
        dtype: In which arithmetic.
    """

    count: int
    height: int
    width: int
    per_step: int
    device: torch.device
    dtype: torch.dtype

    def place(self, numbers: Tensor) -> Tensor:
        """Weights as they are used."""
        return numbers.to(self.device, self.dtype)


class Layer(ABC):
    """An operation at work.

    Args:
        sources: What it takes planes from.
    """

    def __init__(self, sources: Sequence[PlaneSource]) -> None:
        self._sources = sources

    @property
    def num_ready(self) -> int:
        """Planes that all sources have given."""
        return min(source.num_waiting for source in self._sources)

    @abstractmethod
    def step(self) -> Tensor | None:
        """The next planes (n, H, W, C), or None where the sources have to give more first."""


class ConvolutionLayer(Layer):
    """A convolution, which keeps the last two planes of its input.

    Args:
        operation: The convolution.
        sources: What it takes planes from.
        widths: Channels of each source.
        planes: What it gives.
    """

    def __init__(
        self,
        operation: Convolution,
        sources: Sequence[PlaneSource],
        widths: Sequence[int],
        planes: Planes,
    ) -> None:
        super().__init__(sources)
        self._widths, self._planes, self._num_left = widths, planes, planes.count
        self._group = _group(operation.channels, planes.width, _LANES)
        self._weight = planes.place(_widened(operation.weight, self._group))
        self._bias = operation.bias.repeat(self._group).to(planes.device, torch.float32)
        self._pads = planes.place(operation.pads)
        # Two planes are kept, and one of padding lies behind the last.
        shape = (planes.per_step + 3, planes.height + 2, planes.width + 2, len(self._pads))
        # The rim stays as it is now, and the first plane is the padding before the volume.
        self._buffer = self._pads.expand(shape).contiguous()
        self._num_filled = 1

    def step(self) -> Tensor | None:
        """See `Layer`."""
        count = min(self.num_ready, self._planes.per_step)
        if count == 0:
            return None
        self._take(count)
        if self._num_left == 0:
            self._buffer[self._num_filled] = self._pads
            self._num_filled += 1
        if self._num_filled < 3:
            return None
        image = self._buffer[: self._num_filled]
        output = _convolve(image, self._weight, self._bias, stride=self._group).relu_()
        for place in (0, 1):
            self._buffer[place] = self._buffer[self._num_filled - 2 + place]
        self._num_filled = 2
        return output.view(*output.shape[:2], self._planes.width, -1)

    def _take(self, count: int) -> None:
        """Copy planes of all sources side by side into the buffer."""
        first_channel = 0
        for source, width in zip(self._sources, self._widths, strict=True):
            first = self._num_filled
            for block in source.take(count):
                inside = self._buffer[first : first + len(block), 1:-1, 1:-1]
                _copy_channels(inside, block, first_channel)
                first += len(block)
            first_channel += width
        self._num_filled += count
        self._num_left -= count


class PoolingLayer(Layer):
    """A pooling, which waits for pairs of planes.

    Args:
        operation: The pooling.
        sources: What it takes planes from.
        planes: What it gives.
    """

    def __init__(self, operation: Pooling, sources: Sequence[PlaneSource], planes: Planes) -> None:
        super().__init__(sources)
        self._per_step = planes.per_step
        self._signs: Tensor | None = None
        if operation.signs is not None:
            self._signs = planes.place(operation.signs)

    def step(self) -> Tensor | None:
        """See `Layer`."""
        num_pairs = min(self.num_ready // 2, self._per_step)
        if num_pairs == 0:
            return None
        # Three maxima of pairs are many times faster than `max_pool3d`, which walks voxel by voxel.
        # Pairs of rows lie in one block, those of planes need not; and pairs whose voxels lie side
        # by side come last, when a quarter is left.
        halves: list[Tensor] = []
        for block in self._sources[0].take(2 * num_pairs):
            if self._signs is not None:
                block = block * self._signs
            halves.append(torch.maximum(block[:, 0::2], block[:, 1::2]))
        block = halves[0] if len(halves) == 1 else torch.cat(halves)
        block = torch.maximum(block[0::2], block[1::2])
        return torch.maximum(block[:, :, 0::2], block[:, :, 1::2])


class DoublingLayer(Layer):
    """A doubling as four products, one for each place in z and y.

    What a product gives for the two places in x lies side by side as in a row of the output.

    Args:
        operation: The doubling.
        sources: What it takes planes from.
        planes: What it gives.
    """

    def __init__(self, operation: Doubling, sources: Sequence[PlaneSource], planes: Planes) -> None:
        super().__init__(sources)
        self._channels = operation.channels
        self._per_step = max(1, planes.per_step // 2)
        width = planes.width // 2
        self._products: list[tuple[int, int, _Product]] = []
        for z in (0, 1):
            for y in (0, 1):
                # (in, out, x) to (x, out, in)
                weight = operation.weight[:, :, z, y].permute(2, 1, 0).flatten(0, 1)
                bias = operation.bias[:, z, y].T.flatten()
                self._products.append((z, y, _Product(weight, bias, width, planes)))

    def step(self) -> Tensor | None:
        """See `Layer`."""
        count = min(self.num_ready, self._per_step)
        if count == 0:
            return None
        block = self._sources[0].take_block(count)
        _, height, width, _ = block.shape
        doubled = block.new_empty(2 * count, 2 * height, 2 * width, self._channels)
        for z, y, product in self._products:
            doubled[z::2, y::2] = product(block).view(count, height, 2 * width, self._channels)
        return doubled


class ProjectionLayer(Layer):
    """A 1x1x1 convolution.

    Args:
        operation: The convolution.
        sources: What it takes planes from.
        planes: What it gives.
    """

    def __init__(
        self, operation: Projection, sources: Sequence[PlaneSource], planes: Planes
    ) -> None:
        super().__init__(sources)
        self._per_step = planes.per_step
        self._product = _Product(operation.weight, operation.bias, planes.width, planes)

    def step(self) -> Tensor | None:
        """See `Layer`."""
        count = min(self.num_ready, self._per_step)
        if count == 0:
            return None
        return self._product(self._sources[0].take_block(count))


class _Product:
    """A matrix product of each voxel, for several voxels of a row at once.

    Args:
        weight: (out, in), float64.
        bias: (out,), float64.
        width: Voxels of a row.
        planes: Where and how it is computed.
    """

    def __init__(self, weight: Tensor, bias: Tensor, width: int, planes: Planes) -> None:
        self._group = _group(len(bias), width, _LANES_OF_PRODUCTS)
        blocks = torch.block_diag(*[weight] * self._group)
        self._weight = planes.place(blocks[:, :, None, None, None])
        self._bias = bias.repeat(self._group).to(planes.device, torch.float32)

    def __call__(self, block: Tensor) -> Tensor:
        """Map planes (n, H, W, in) to (n, H, W, out)."""
        count, height, width, channels = block.shape
        groups = block.view(count, height, width // self._group, self._group * channels)
        return _convolve(groups, self._weight, self._bias).view(count, height, width, -1)


def make_layer(
    operation: Operation, sources: Sequence[PlaneSource], widths: Sequence[int], planes: Planes
) -> Layer:
    """What computes an operation.

    Args:
        operation: The operation.
        sources: What it takes planes from.
        widths: Channels of each source.
        planes: What it gives.
    """
    if isinstance(operation, Convolution):
        return ConvolutionLayer(operation, sources, widths, planes)
    if isinstance(operation, Pooling):
        return PoolingLayer(operation, sources, planes)
    if isinstance(operation, Doubling):
        return DoublingLayer(operation, sources, planes)
    assert isinstance(operation, Projection)
    return ProjectionLayer(operation, sources, planes)


def _convolve(planes: Tensor, weight: Tensor, bias: Tensor, *, stride: int = 1) -> Tensor:
    """Convolve planes (n, H, W, C) without padding, with a stride along W."""
    # The batch is added before the axes are turned: with the stride that it would have afterwards,
    # PyTorch does not see that channels come last.
    image = planes[None].permute(0, 4, 1, 2, 3)
    geometry = ([1, 1, stride], [0, 0, 0], [1, 1, 1])
    if _takes_onednn(image):
        strides, padding, dilation = geometry
        # PyTorch takes it by itself for large inputs of many channels only. Biases stay in float32,
        # which oneDNN adds before it rounds: folded ones are large where statistics are.
        output = torch.ops.aten.mkldnn_convolution(
            image, weight, bias, padding, strides, dilation, 1
        )
    else:
        output = F.conv3d(image, weight, bias.to(image.dtype), *geometry)
    convolved: Tensor = output.permute(0, 2, 3, 4, 1)[0].contiguous()
    return convolved


def _takes_onednn(image: Tensor) -> bool:
    if image.device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    return image.dtype == torch.float32 or (
        image.dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )


def _group(channels: int, width: int, lanes: int) -> int:
    """How many voxels of a row are computed as the channels of one: a power of 2."""
    group = 1
    # More than one group in a row: in bf16 with AMX, oneDNN's convolutions with a stride are wrong
    # where their output is one voxel wide (https://github.com/pytorch/pytorch/issues/169688).
    while 2 * group * channels <= lanes and width % (2 * group) == 0 and width > 2 * group:
        group *= 2
    return group


def _widened(weight: Tensor, group: int) -> Tensor:
    """The kernel (k out, in, 3, 3, k + 2) that computes k voxels of a row at once."""
    shifted: list[Tensor] = []
    for place in range(group):
        shifted.append(F.pad(weight, (place, group - 1 - place)))
    return torch.cat(shifted)


def _copy_channels(target: Tensor, block: Tensor, first: int) -> None:
    """Copy planes (n, H, W, c) into the channels of others (n, H, W, C) from `first` on."""
    channels, total = block.shape[-1], target.shape[-1]
    if block.device.type == "cpu" and channels < total:
        # Channels are few, and a copy that runs over them one by one is slow.
        count, number = _widest_number(block.dtype, (first, channels, total))
        target, block = target.view(number), block.view(number)
        first, channels = first // count, channels // count
    target[..., first : first + channels] = block


def _widest_number(dtype: torch.dtype, counts: Sequence[int]) -> tuple[int, torch.dtype]:
    """How many values one number can stand for that divides all counts, and its type."""
    for size, number in _NUMBERS:
        count = size // dtype.itemsize
        if count > 1 and not any(n % count for n in counts):
            return count, number
    return 1, dtype
