"""The exact logits of a volume from its planes, one after the other, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from lunet_cli.engine.runtimes.plane_graph import INPUT, PlaneGraph
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
                # Two planes of the deep levels take no time, and keep their queues short.
                per_step=max(2, per_step >> level),
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
