"""Planes on their way from one layer to the next, some of which wait for a long time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque

import torch
from torch import Tensor


class PlaneSource(ABC):
    """What a layer takes planes (H, W, C) from, in their order."""

    @property
    @abstractmethod
    def num_waiting(self) -> int:
        """Planes that can be taken."""

    @abstractmethod
    def take(self, count: int) -> list[Tensor]:
        """The next `count` planes, in blocks (n, H, W, C); no more than are waiting.

        They are valid until more are put in.
        """

    def take_block(self, count: int) -> Tensor:
        """The next `count` planes in one block."""
        taken = self.take(count)
        if len(taken) == 1:
            return taken[0]
        return torch.cat(taken)


class PlaneQueue(PlaneSource):
    """Planes for one layer, which are not copied."""

    def __init__(self) -> None:
        self._blocks: deque[Tensor] = deque()
        self._num_waiting = 0

    @property
    def num_waiting(self) -> int:
        """See `PlaneSource`."""
        return self._num_waiting

    def put(self, block: Tensor) -> None:
        """Add planes (n, H, W, C) at the end."""
        self._blocks.append(block)
        self._num_waiting += len(block)

    def take(self, count: int) -> list[Tensor]:
        """See `PlaneSource`."""
        self._num_waiting -= count
        taken: list[Tensor] = []
        while count > 0:
            block = self._blocks.popleft()
            if len(block) > count:
                self._blocks.appendleft(block[count:])
                block = block[:count]
            taken.append(block)
            count -= len(block)
        return taken


class PlaneRing:
    """Planes that wait for a long time, in one place for all layers that take them.

    They are copied when they are put in: kept as they came, among all that is computed and freed in
    the meantime, they would leave the memory of the process full of holes.

    Args:
        capacity: Planes that there is room for; more is made where it is needed.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity, self._num_put = capacity, 0
        self._num_taken: list[int] = []  # by each layer
        self._buffer: Tensor | None = None

    def open(self) -> PlaneSource:
        """What one more layer takes planes from; all are opened before the first plane comes."""
        self._num_taken.append(0)
        return _RingSource(self, len(self._num_taken) - 1)

    @property
    def num_waiting(self) -> int:
        """Planes that one of the layers has not taken yet."""
        return max(map(self.num_waiting_for, range(len(self._num_taken))))

    def num_waiting_for(self, taker: int) -> int:
        """Planes that a layer has not taken yet."""
        return self._num_put - self._num_taken[taker]

    def put(self, block: Tensor) -> None:
        """Add planes (n, H, W, C) at the end."""
        num_kept = self.num_waiting
        if self._buffer is None or num_kept + len(block) > self._capacity:
            self._grow(block, num_kept)
        self._write(self._num_put, block)
        self._num_put += len(block)

    def take(self, taker: int, count: int) -> list[Tensor]:
        """The next planes of a layer: one block, or two where the ring closes between them."""
        first, self._num_taken[taker] = self._num_taken[taker], self._num_taken[taker] + count
        return self._planes(first, count)

    def _planes(self, first: int, count: int) -> list[Tensor]:
        assert self._buffer is not None
        start = first % self._capacity
        before = self._buffer[start : start + count]
        if len(before) == count:
            return [before]
        return [before, self._buffer[: count - len(before)]]

    def _write(self, first: int, block: Tensor) -> None:
        for part in self._planes(first, len(block)):
            part.copy_(block[: len(part)])
            block = block[len(part) :]

    def _grow(self, block: Tensor, num_kept: int) -> None:
        first = self._num_put - num_kept
        kept: list[Tensor] = []
        if num_kept:
            kept = self._planes(first, num_kept)
        self._capacity = max(self._capacity, num_kept + len(block))
        self._buffer = block.new_empty(self._capacity, *block.shape[1:])
        for part in kept:
            self._write(first, part)
            first += len(part)


class _RingSource(PlaneSource):
    """What one layer takes of a ring; the ring does not know it, so that both end at once."""

    def __init__(self, ring: PlaneRing, taker: int) -> None:
        self._ring, self._taker = ring, taker

    @property
    def num_waiting(self) -> int:
        """See `PlaneSource`."""
        return self._ring.num_waiting_for(self._taker)

    def take(self, count: int) -> list[Tensor]:
        """See `PlaneSource`."""
        return self._ring.take(self._taker, count)
