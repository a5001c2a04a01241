"""The exact logits of a volume from its planes, one after the other, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from lunet_cli.engine.runtimes.plane_graph import INPUT, Convolution, PlaneGraph, Reach
from lunet_cli.engine.runtimes.plane_layers import Layer, PlaneQueue, Planes, make_layer


class PlaneStream:
    """A volume on its way through a network.

    Args:
        graph: The network.
        size: Voxels (D, H, W) of the volume, each a multiple of the network's stride.
        per_step: Planes of full resolution that are computed at once.
        device: Where to compute.
        dtype: In which arithmetic.
    """

    def __init__(
        self,
        graph: PlaneGraph,
        size: tuple[int, int, int],
        *,
        per_step: int,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self._layers: list[Layer] = []
        # The queues of those that take what an operation, or the image, gives.
        self._takers: dict[int, list[PlaneQueue]] = {INPUT: []}
        widths = {INPUT: graph.in_channels}
        depth, height, width = size
        for index, operation in enumerate(graph.operations):
            level = operation.reach.level
            planes = Planes(
                count=depth >> level,
                height=height >> level,
                width=width >> level,
                per_step=planes_at_once(per_step, level),
                device=device,
                dtype=dtype,
            )
            layer = make_layer(operation, [widths[i] for i in operation.sources], planes)
            for source, queue in zip(operation.sources, layer.queues, strict=True):
                self._takers[source].append(queue)
            self._layers.append(layer)
            self._takers[index], widths[index] = [], operation.channels

    def push(self, block: Tensor) -> Iterator[Tensor]:
        """Send the next planes in.

        Args:
            block: Planes (n, H, W, C) on the device and in the arithmetic of the stream.

        Yields:
            Logits (n, H, W, K) of the planes that have become final. After the last plane of the
            volume, they come to the last.
        """
        for queue in self._takers[INPUT]:
            queue.put(block)
        # What lies furthest behind goes first, so that queues stay short.
        index = len(self._layers) - 1
        while index >= 0:
            found = self._step(index)
            if found is None:
                index -= 1
                continue
            if index == len(self._layers) - 1:
                yield found
                continue
            for queue in self._takers[index]:
                queue.put(found)
            index = len(self._layers) - 1

    @property
    def num_values(self) -> int:
        """Numbers that wait in queues."""
        return sum(queue.num_values for layer in self._layers for queue in layer.queues)

    @torch.inference_mode()
    def _step(self, index: int) -> Tensor | None:
        return self._layers[index].step()


def planes_at_once(per_step: int, level: int) -> int:
    """Planes of a level that are computed at once.

    Args:
        per_step: Those of full resolution.
        level: The level.
    """
    # Two planes of the deep levels are small, and one has no partner for the pooling.
    return max(2, per_step >> level)


def count_values(graph: PlaneGraph, plane: tuple[int, int], per_step: int) -> int:
    """How many numbers a stream holds at its peak, without the image and the logits.

    Args:
        graph: The network.
        plane: Rows and columns (H, W), each a multiple of the stride.
        per_step: Planes of full resolution that are computed at once.
    """
    total, largest = 0, 0
    longest: dict[int, int] = {}
    for operation in graph.operations:
        level = operation.reach.level
        voxels = (plane[0] >> level) * (plane[1] >> level)
        block = (planes_at_once(per_step, level) + 1) * voxels * operation.channels
        # What is being computed, the convolution's own copy of it, and what was just handed on.
        largest = max(largest, 3 * block)
        if isinstance(operation, Convolution):
            around = ((plane[0] >> level) + 2) * ((plane[1] >> level) + 2)
            total += (planes_at_once(per_step, level) + 3) * around * len(operation.pads)
        for source, waiting in _waiting(graph, operation.sources, per_step).items():
            longest[source] = max(longest.get(source, 0), waiting)
    return total + largest + _kept(graph, plane, longest)


def _waiting(graph: PlaneGraph, sources: tuple[int, ...], per_step: int) -> dict[int, int]:
    """How many planes of each source wait until the last of the sources has given its own."""
    reaches = {source: _reach(graph, source) for source in sources}
    last = max(reach.after for reach in reaches.values())
    found: dict[int, int] = {}
    for source, reach in reaches.items():
        step = planes_at_once(per_step, reach.level)
        found[source] = ((last - reach.after) >> reach.level) + 2 * step
    return found


def _reach(graph: PlaneGraph, source: int) -> Reach:
    if source == INPUT:
        return Reach(0, 0, 0)
    return graph.operations[source].reach


def _kept(graph: PlaneGraph, plane: tuple[int, int], longest: dict[int, int]) -> int:
    """Numbers that wait in queues; those who take the same planes share them."""
    total = 0
    for source, waiting in longest.items():
        if source == INPUT:
            continue
        level, channels = graph.operations[source].reach.level, graph.operations[source].channels
        total += waiting * (plane[0] >> level) * (plane[1] >> level) * channels
    return total
