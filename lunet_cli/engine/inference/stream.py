"""Exact logits of volumes in one pass: planes flow through the networks and come out as logits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lunet_cli.config.vocabulary import Precision, Size
from lunet_cli.engine.inference.sliding_window import VolumeInput
from lunet_cli.engine.networks.blocks import SegmentationNetwork
from lunet_cli.engine.networks.execution import DTYPES
from lunet_cli.engine.runtimes.plane_graph import PlaneGraph, plane_graph
from lunet_cli.engine.runtimes.plane_queues import PlaneQueue
from lunet_cli.engine.runtimes.plane_stream import PlaneStream

Average = Callable[[Iterable[Tensor]], Tensor]

# Twice as many voxels at once are three hundredths faster and take a fifth more memory
# (docs/speed.md).
_STEP_VOXELS = 1 << 19
FEWEST_PLANES = 2
"""Fewer planes at once do not spare memory: what is kept between them is more."""


@dataclass(frozen=True)
class _Axis:
    """How an axis is padded to a multiple of the stride, with copies of its outermost voxel.

    Args:
        size: Voxels of the image.
        front: Copies before them; a mirrored network has its padding there.
        behind: Copies behind them.
    """

    size: int
    front: int
    behind: int

    @classmethod
    def of(cls, size: int, axis: int, graph: PlaneGraph) -> _Axis:
        padding = -size % graph.stride
        if axis in graph.mirrored:
            return cls(size, padding, 0)
        return cls(size, 0, padding)

    @property
    def padded(self) -> int:
        return self.front + self.size + self.behind

    def part(self, first: int, stop: int) -> tuple[slice, int, int]:
        """Voxels `first` to `stop` of the padded axis: those of the image, and copies around."""
        low, high = first - self.front, stop - self.front
        inside = slice(max(low, 0), min(high, self.size))
        return inside, max(-low, 0), max(high - self.size, 0)


class Flow:
    """A volume, or a band of its rows, on its way through one network.

    Args:
        graph: The network.
        size: Voxels (D, H, W) of the volume.
        rows: First row that is wanted, and the one after the last.
        per_step: Planes that are computed at once.
        device: Where to compute.
        precision: In which arithmetic.
    """

    def __init__(
        self,
        graph: PlaneGraph,
        size: Size,
        *,
        rows: tuple[int, int],
        per_step: int,
        device: str,
        precision: Precision,
    ) -> None:
        self._depth, height, width = (_Axis.of(n, axis, graph) for axis, n in enumerate(size))
        first, stop = padded_rows(graph, size[1], rows)
        self.rows, *around = height.part(first, stop)
        """The rows of the image that are needed."""
        # `F.pad` takes the last axis first.
        self._padding = [width.front, width.behind, *around]
        self._row_slice = slice(rows[0] + height.front - first, rows[1] + height.front - first)
        self._column_slice = slice(width.front, width.front + width.size)
        self._device, self._dtype = torch.device(device), DTYPES[precision]
        self._num_in, self._num_out = 0, -self._depth.front
        self._stream = PlaneStream(
            graph,
            (self._depth.padded, stop - first, width.padded),
            per_step=per_step,
            device=self._device,
            dtype=self._dtype,
        )

    def push(self, block: Tensor) -> Iterator[Tensor]:
        """Send the next planes in.

        Args:
            block: Intensities (C, n, rows, W), float32, of the rows that are needed.

        Yields:
            Logits (K, n, rows, W), float32, of the rows that are wanted, of the planes that have
            become final. After the last plane, they come to the last.
        """
        is_first = self._num_in == 0
        self._num_in += block.shape[1]
        is_last = self._num_in == self._depth.size
        planes = [self._depth.front * is_first, self._depth.behind * is_last]
        padding = [*self._padding, *planes]
        if any(padding):
            block = F.pad(block, padding, mode="replicate")
        image = block.permute(1, 2, 3, 0).to(self._device, self._dtype).contiguous()
        for logits in self._stream.push(image):
            yield from self._cut(logits)

    def _cut(self, logits: Tensor) -> Iterator[Tensor]:
        """What of logits (n, H, W, K) belongs to the volume."""
        first, self._num_out = self._num_out, self._num_out + len(logits)
        inside = logits[max(-first, 0) : max(self._depth.size - first, 0)]
        if len(inside):
            wanted = inside[:, self._row_slice, self._column_slice].permute(3, 0, 1, 2)
            yield wanted.to(torch.float32, memory_format=torch.contiguous_format)


def usual_planes(size: Size) -> int:
    """Planes of a volume (D, H, W) that are computed at once if memory does not matter."""
    depth, height, width = size
    return max(FEWEST_PLANES, min(depth, _STEP_VOXELS // (height * width)))


def padded_rows(graph: PlaneGraph, height: int, rows: tuple[int, int]) -> tuple[int, int]:
    """The rows of the padded axis that wanted rows of the image depend on.

    Args:
        graph: The network.
        height: Rows of the image.
        rows: First row that is wanted, and the one after the last.

    Returns:
        The first and the one after the last, both multiples of the stride.
    """
    axis, stride = _Axis.of(height, 1, graph), graph.stride
    before, after = graph.reach.before, graph.reach.after
    if 1 in graph.mirrored:
        before, after = after, before
    first = max(rows[0] + axis.front - before, 0) // stride * stride
    stop = -(-(rows[1] + axis.front + after) // stride) * stride
    return first, min(stop, axis.padded)


def padded_size(graph: PlaneGraph, size: int, *, axis: int) -> int:
    """Voxels of an axis with its padding to the stride."""
    return _Axis.of(size, axis, graph).padded


def flow_through(
    flows: Sequence[Flow],
    image: VolumeInput,
    *,
    per_step: int,
    average: Average,
    on_step: Callable[[], None] = lambda: None,
) -> Iterator[Tensor]:
    """Send a volume through networks.

    Args:
        flows: The networks; all want the same rows.
        image: The volume.
        per_step: Planes that are read at once.
        average: From logits (1, K, n, rows, W) of each network to those of all.
        on_step: Called after each block of planes.

    Yields:
        Logits (K, n, rows, W), float32, in the order of the planes.
    """
    depth, _, width = image.size
    first_row = min(flow.rows.start for flow in flows)
    last_row = max(flow.rows.stop for flow in flows)
    queues = [PlaneQueue() for _ in flows]
    for first in range(0, depth, per_step):
        planes = slice(first, min(first + per_step, depth))
        block = torch.from_numpy(image.crop((planes, slice(first_row, last_row), slice(0, width))))
        pushed: list[Iterator[Tensor]] = []
        for flow in flows:
            rows = slice(flow.rows.start - first_row, flow.rows.stop - first_row)
            pushed.append(flow.push(block[:, :, rows]))
        for logits in _in_step(pushed, queues):
            yield average(logits)[0]
        on_step()


def _in_step(
    pushed: Sequence[Iterator[Tensor]], queues: Sequence[PlaneQueue]
) -> Iterator[list[Tensor]]:
    """The logits (1, K, n, rows, W) of all flows for the same planes, as soon as all have them.

    Behind the last plane of a volume, many come at once: each flow is asked for as few as possible.
    """
    while all(_has_planes(flow, queue) for flow, queue in zip(pushed, queues, strict=True)):
        count = min(queue.num_waiting for queue in queues)
        yield [queue.take_block(count).transpose(0, 1)[None] for queue in queues]
    for flow, queue in zip(pushed, queues, strict=True):
        for logits in flow:
            queue.put(logits.transpose(0, 1))


def _has_planes(flow: Iterator[Tensor], queue: PlaneQueue) -> bool:
    """Let a flow go on until it has given planes, or has no more to give for now."""
    while queue.num_waiting == 0:
        logits = next(flow, None)
        if logits is None:
            return False
        queue.put(logits.transpose(0, 1))
    return True


def stream_logits(
    network: SegmentationNetwork,
    planes: Iterable[Tensor],
    size: Size,
    *,
    per_step: int | None = None,
    device: str = "cpu",
    precision: Precision = "fp32",
) -> Iterator[Tensor]:
    """Compute the logits of a volume while its planes come in.

    They are those of one pass over the whole volume, up to rounding. What is kept does not grow
    with the number of planes.

    Args:
        network: A U-Net or UNet++ of any widths, in evaluation mode.
        planes: Intensities (C, n, H, W), float32, in blocks of any number of planes.
        size: Voxels (D, H, W) of the volume.
        per_step: Planes that are computed at once; None takes as many as are usual.
        device: Where to compute.
        precision: In which arithmetic.

    Yields:
        Logits (K, n, H, W), float32, in the order of the planes, D in all.

    Raises:
        ValueError: The planes of this network cannot flow.
    """
    flow = Flow(
        plane_graph(network),
        size,
        rows=(0, size[1]),
        per_step=per_step or usual_planes(size),
        device=device,
        precision=precision,
    )
    for block in planes:
        yield from flow.push(block)
