from __future__ import annotations

import gc
import weakref

import pytest
import torch
from torch import Tensor

from lunet_cli.engine.runtimes.plane_queues import PlaneQueue, PlaneRing


def block(*numbers: int) -> Tensor:
    """Planes of a voxel each."""
    return torch.tensor(numbers).view(-1, 1, 1, 1)


def flat(planes: list[Tensor]) -> list[list[int]]:
    return [part.flatten().tolist() for part in planes]


def test_queue_gives_planes_in_order_across_its_blocks() -> None:
    queue = PlaneQueue()
    queue.put(block(0, 1, 2))
    queue.put(block(3, 4))
    assert flat(queue.take(1)) == [[0]]
    assert queue.take_block(3).flatten().tolist() == [1, 2, 3]
    assert queue.num_waiting == 1


def test_ring_keeps_planes_until_all_layers_have_taken_them() -> None:
    ring = PlaneRing(capacity=4)
    early, late = ring.open(), ring.open()
    ring.put(block(0, 1, 2))
    assert flat(early.take(3)) == [[0, 1, 2]]
    assert flat(late.take(1)) == [[0]]
    ring.put(block(3, 4))
    assert (early.num_waiting, late.num_waiting, ring.num_waiting) == (2, 4, 4)
    # The ring closes behind its fourth place.
    assert flat(late.take(4)) == [[1, 2, 3], [4]]
    assert early.take_block(2).flatten().tolist() == [3, 4]


@pytest.mark.parametrize("capacity", [1, 3, 5])
def test_ring_makes_room_where_more_planes_wait(capacity: int) -> None:
    ring = PlaneRing(capacity=capacity)
    taker = ring.open()
    for first in range(0, 8, 2):
        ring.put(block(first, first + 1))
        if first == 2:
            taker.take(1)
    assert taker.take_block(7).flatten().tolist() == [1, 2, 3, 4, 5, 6, 7]


def test_ring_ends_with_the_layers_that_take_from_it() -> None:
    ring = PlaneRing(capacity=1)
    taker, remembered = ring.open(), weakref.ref(ring)
    gc.disable()
    try:
        del ring, taker
        assert remembered() is None
    finally:
        gc.enable()
