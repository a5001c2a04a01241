"""The exact logits of a volume from its planes, one after the other, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from lunet_cli.engine.runtimes.plane_graph import INPUT, Convolution, PlaneGraph, Reach
from lunet_cli.engine.runtimes.plane_layers import Layer, Planes, make_layer
from lunet_cli.engine.runtimes.plane_queues import PlaneQueue, PlaneRing, PlaneSource


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
        connections = _Connections(graph, per_step)
        self._outlets = connections.outlets
        self._layers: list[Layer] = []
        self._last_taker: dict[int, int] = {}
        self._place = 0
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
            widths = [_channels(graph, source) for source in operation.sources]
            layer = make_layer(operation, connections.sources[index], widths, planes)
            self._layers.append(layer)
            self._last_taker |= dict.fromkeys(operation.sources, index)

    @property
    def num_waiting(self) -> int:
        """Planes of any level that wait to be taken, of each source those of its last taker."""
        return sum(outlet.num_waiting for outlets in self._outlets.values() for outlet in outlets)

    def push(self, block: Tensor) -> Iterator[Tensor]:
        """Send the next planes in.

        Args:
            block: Planes (n, H, W, C) on the device and in the arithmetic of the stream.

        Yields:
            Logits (n, H, W, K) of the planes that have become final. After the last plane of the
            volume, they come to the last.
        """
        self._put(INPUT, block)
        self._place = self._last_taker[INPUT]
        while (logits := self._next_logits()) is not None:
            yield logits

    # For all steps together: entering the mode takes as long as a step of a deep level.
    @torch.inference_mode()
    def _next_logits(self) -> Tensor | None:
        last = len(self._layers) - 1
        while self._place >= 0:
            index = self._place
            found = self._layers[index].step()
            if found is None:
                self._place -= 1
                continue
            if index == last:
                return found
            self._put(index, found)
            # What lies furthest behind goes first, so that little waits in between. Behind those
            # who take these planes, nothing has changed.
            self._place = self._last_taker[index]
        return None

    def _put(self, source: int, block: Tensor) -> None:
        for outlet in self._outlets[source]:
            outlet.put(block)


class _Connections:
    """How planes get from each operation to those that take them.

    Args:
        graph: The network.
        per_step: Planes of full resolution that are computed at once.
    """

    def __init__(self, graph: PlaneGraph, per_step: int) -> None:
        self.outlets: dict[int, list[PlaneQueue | PlaneRing]] = {}
        self.sources: list[list[PlaneSource]] = []
        self._rings: dict[int, PlaneRing] = {}
        room = _room(graph, per_step)
        for source, waiting in _waiting(graph).items():
            self.outlets[source] = []
            if waiting > planes_at_once(per_step, _level(graph, source)):
                self._rings[source] = PlaneRing(room[source])
                self.outlets[source].append(self._rings[source])
        for operation in graph.operations:
            self.sources.append(list(map(self._connect, operation.sources)))

    def _connect(self, source: int) -> PlaneSource:
        if source in self._rings:
            return self._rings[source].open()
        queue = PlaneQueue()
        self.outlets[source].append(queue)
        return queue


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
    for operation in graph.operations:
        level = operation.reach.level
        step, voxels = planes_at_once(per_step, level), _voxels(plane, level)
        # What is being computed, the convolution's own copy of it, and what was just handed on.
        largest = max(largest, 3 * (step + 1) * voxels * operation.channels)
        if isinstance(operation, Convolution):
            around = ((plane[0] >> level) + 2) * ((plane[1] >> level) + 2)
            total += (step + 3) * around * len(operation.pads)
    for source, num_planes in _room(graph, per_step).items():
        total += num_planes * _voxels(plane, _level(graph, source)) * _channels(graph, source)
    return total + largest


def _room(graph: PlaneGraph, per_step: int) -> dict[int, int]:
    """How many planes of each source are kept at once, at most."""
    deepest: dict[int, int] = {INPUT: 0}
    for index, operation in enumerate(graph.operations):
        above = max(deepest[source] for source in operation.sources)
        deepest[index] = max(operation.reach.level, above)
    found: dict[int, int] = {}
    for source, waiting in _waiting(graph).items():
        level = _level(graph, source)
        step = planes_at_once(per_step, level)
        # One more waits where a pair of the level below is not complete.
        found[source] = waiting + step + 1
        # What comes up from below comes in bursts, since a plane there becomes several here. If
        # nothing else is waited for, it goes on at once.
        if waiting > step and deepest[source] > level:
            burst = planes_at_once(per_step, deepest[source]) << (deepest[source] - level)
            found[source] += 2 * (burst + step)
    return found


def _waiting(graph: PlaneGraph) -> dict[int, int]:
    """How many planes of each source wait until the last of its takers has its other sources."""
    longest: dict[int, int] = {}
    for operation in graph.operations:
        reaches = {source: _reach(graph, source) for source in operation.sources}
        last = max(reach.after for reach in reaches.values())
        for source, reach in reaches.items():
            waiting = (last - reach.after) >> reach.level
            longest[source] = max(longest.get(source, 0), waiting)
    return longest


def _reach(graph: PlaneGraph, source: int) -> Reach:
    return Reach(0, 0, 0) if source == INPUT else graph.operations[source].reach


def _level(graph: PlaneGraph, source: int) -> int:
    return _reach(graph, source).level


def _channels(graph: PlaneGraph, source: int) -> int:
    return graph.in_channels if source == INPUT else graph.operations[source].channels


def _voxels(plane: tuple[int, int], level: int) -> int:
    return (plane[0] >> level) * (plane[1] >> level)
