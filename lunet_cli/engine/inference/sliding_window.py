"""Logits of whole volumes from a network that sees one window at a time, slab by slab."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from itertools import product
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from lunet_cli.config.vocabulary import Size

Forward = Callable[[Tensor], Tensor]
OnPlanes = Callable[[Tensor, int], None]

_NO_WEIGHT = 1e-12  # Keeps the division finite where no window has been yet.


class VolumeInput(Protocol):
    """A volume that can be read box by box."""

    @property
    def size(self) -> Size:
        """Voxels (D, H, W)."""

    def crop(self, where: tuple[slice, ...]) -> npt.NDArray[np.float32]:
        """Intensities (C, d, h, w) of a box."""


class ArrayInput:
    """A volume that lies in memory or in a memory map.

    Args:
        array: Intensities (C, D, H, W), float32 or float16.
    """

    def __init__(self, array: npt.NDArray[np.float32] | npt.NDArray[np.float16]) -> None:
        self._array = array

    @property
    def size(self) -> Size:
        """Voxels (D, H, W)."""
        depth, height, width = self._array.shape[1:]
        return depth, height, width

    def crop(self, where: tuple[slice, ...]) -> npt.NDArray[np.float32]:
        """Intensities (C, d, h, w) of a box."""
        return np.array(self._array[:, *where], dtype=np.float32)


class Stitcher:
    """A volume, or a band of its rows, whose windows are collected.

    Windows come plane by plane from the first on, so that the planes before the next window are
    final. They are handed on at once, and only as many planes are kept as a window is deep. An axis
    that is shorter than the window is surrounded by zeros. Logits of overlapping windows are
    averaged with Gaussian weights.

    Args:
        image: The volume.
        window: Voxels (D, H, W) that the network sees.
        overlap: Share of the window that neighbours have in common, 0 to below 1.
        on_planes: Called with final logits (K, n, rows, W), float32, and the index of the first of
            these n planes. The tensor is valid during the call only.
        rows: First row of the axis H that is wanted, and the one after the last; None wants all.
    """

    def __init__(
        self,
        image: VolumeInput,
        *,
        window: Size,
        overlap: float,
        on_planes: OnPlanes,
        rows: tuple[int, int] | None = None,
    ) -> None:
        self._image, self._window, self._on_planes = image, window, on_planes
        axes = tuple(zip(image.size, window, strict=True))
        self._front = [max(0, edge - size) // 2 for size, edge in axes]
        first, stop = rows or (0, image.size[1])
        first, stop = first + self._front[1], stop + self._front[1]
        planes, heights, widths = (window_starts(size, edge, overlap) for size, edge in axes)
        heights = [start for start in heights if start < stop and start + window[1] > first]
        self.starts: list[Size] = list(product(planes, heights, widths))
        self._rows = (first, stop)
        self._first_row = heights[0]
        self._extent = (
            window[0],
            heights[-1] + window[1] - heights[0],
            max(image.size[2], window[2]),
        )
        self._total: Tensor | None = None
        self._weight = torch.empty(0)
        self._base = 0
        self._num_done = 0

    @property
    def is_done(self) -> bool:
        """Whether all windows have been added."""
        return self._num_done == len(self.starts)

    def read(self, start: Size) -> Tensor:
        """The image (C, *window) of the window at `start`."""
        where: list[slice] = []
        padding: list[int] = []
        for axis, size in enumerate(self._image.size):
            low = start[axis] - self._front[axis]
            high = low + self._window[axis]
            where.append(slice(max(low, 0), min(high, size)))
            # `F.pad` takes the last axis first.
            padding[:0] = [max(-low, 0), max(high - size, 0)]
        image = torch.from_numpy(self._image.crop(tuple(where)))
        if any(padding):
            image = F.pad(image, padding)
        return image

    def add(self, start: Size, logits: Tensor) -> None:
        """Take in the logits (K, *window), float32, of the next window."""
        self._num_done += 1
        # A single window overlaps with none, and needs no buffer.
        if len(self.starts) == 1:
            self._hand_on(logits)
            return
        if self._total is None:
            self._total = self._empty_total(logits)
            self._weight = logits.new_full(self._extent, _NO_WEIGHT)
        self._advance(start[0])
        top, left = start[1] - self._first_row, start[2]
        where = (..., slice(top, top + self._window[1]), slice(left, left + self._window[2]))
        importance = _importance(self._window, logits.device)
        self._total[where].addcmul_(logits, importance)
        self._weight[where] += importance
        if self.is_done:
            self._advance(self._base + self._window[0])

    def _empty_total(self, logits: Tensor) -> Tensor:
        """Zeros (K, D, H, W) in the layout of the logits: sums then run over memory in one go."""
        if logits.stride(0) == 1:
            return logits.new_zeros((*self._extent, len(logits))).movedim(-1, 0)
        return logits.new_zeros((len(logits), *self._extent))

    def _advance(self, plane: int) -> None:
        """Hand on all planes before `plane`, and make room for as many new ones."""
        assert self._total is not None
        count = plane - self._base
        if count == 0:
            return
        final = self._total[:, :count]
        final /= self._weight[:count]
        self._hand_on(final)
        _drop_first(self._total, 1, count, empty=0.0)
        _drop_first(self._weight, 0, count, empty=_NO_WEIGHT)
        self._base = plane

    def _hand_on(self, logits: Tensor) -> None:
        """Cut off what lies around the volume."""
        (depth, _, width), (front, _, left) = self._image.size, self._front
        first, stop = max(self._base, front), min(self._base + logits.shape[1], front + depth)
        if first >= stop:
            return
        planes = slice(first - self._base, stop - self._base)
        rows = slice(self._rows[0] - self._first_row, self._rows[1] - self._first_row)
        self._on_planes(logits[:, planes, rows, left : left + width], first - front)


def _drop_first(buffer: Tensor, axis: int, count: int, *, empty: float) -> None:
    """Move what follows the first `count` along an axis to the front, and empty the rest."""
    size = buffer.shape[axis]
    kept = max(size - count, 0)
    if kept > 0:
        rest = buffer.narrow(axis, count, kept)
        # Where both overlap, a copy in place would read what it has written already.
        if kept > count:
            rest = rest.clone()
        buffer.narrow(axis, 0, kept).copy_(rest)
    buffer.narrow(axis, kept, size - kept).fill_(empty)


def run_windows(
    forward: Forward,
    stitchers: Iterable[Stitcher],
    *,
    batch_size: int,
    on_window: Callable[[], None] = lambda: None,
) -> Iterator[Stitcher]:
    """Send the windows of volumes through the network.

    Batches span volumes of up to `batch_size` windows, so that a small volume does not make a small
    batch. A larger one is finished before the next is taken.

    Args:
        forward: From images (B, C, *window) to logits (B, K, *window).
        stitchers: Volumes, all of one window size.
        batch_size: Windows per forward pass.
        on_window: Called after each window.

    Yields:
        Each stitcher when all its planes have been handed on, in their order.
    """
    waiting: list[Stitcher] = []
    queue: list[tuple[Stitcher, Size]] = []

    def run_queue() -> None:
        if not queue:
            return
        batch = torch.stack([stitcher.read(start) for stitcher, start in queue])
        for (stitcher, start), logits in zip(queue, forward(batch).float(), strict=True):
            stitcher.add(start, logits)
            on_window()
        queue.clear()

    for stitcher in stitchers:
        waiting.append(stitcher)
        for start in stitcher.starts:
            queue.append((stitcher, start))
            if len(queue) == batch_size:
                run_queue()
        if len(stitcher.starts) > batch_size:
            run_queue()
        while waiting and waiting[0].is_done:
            yield waiting.pop(0)
    run_queue()
    yield from waiting


def predict_logits(
    forward: Forward,
    images: Iterable[VolumeInput],
    *,
    window: Size,
    batch_size: int,
    overlap: float = 0.5,
) -> Iterator[Tensor]:
    """Compute the whole logits of volumes that are small enough for it.

    Args:
        forward: From images (B, C, *window) to logits (B, K, *window).
        images: Volumes.
        window: Voxels (D, H, W) that the network sees.
        batch_size: Windows per forward pass.
        overlap: Share of the window that neighbours have in common, 0 to below 1.

    Yields:
        Logits (K, D, H, W), float32, in the order of `images`, on the device of `forward`'s output.
    """
    waiting: deque[list[Tensor]] = deque()

    def collect(image: VolumeInput) -> Stitcher:
        planes: list[Tensor] = []
        waiting.append(planes)

        def keep(logits: Tensor, _: int) -> None:
            planes.append(logits.clone())

        return Stitcher(image, window=window, overlap=overlap, on_planes=keep)

    for _ in run_windows(forward, map(collect, images), batch_size=batch_size):
        yield torch.cat(waiting.popleft(), dim=1)


def window_starts(size: int, edge: int, overlap: float) -> list[int]:
    """First voxels of the windows along an axis, evenly spread, the last one flush.

    Args:
        size: Voxels of the axis; one shorter than a window is padded to its edge.
        edge: Voxels of a window.
        overlap: Share that neighbours have in common, at least.
    """
    room = max(size - edge, 0)
    stride = max(1, int(edge * (1 - overlap)))
    num_steps = math.ceil(room / stride)
    # Steps are made equal rather than the last one short, so that every voxel is seen alike.
    return [round(step * room / max(1, num_steps)) for step in range(num_steps + 1)]


@cache
def _importance(window: Size, device: torch.device) -> Tensor:
    """Weights (D, H, W) that fall from 1 in the middle, as those of nnU-Net and MONAI do.

    The standard deviation is an eighth of the edge.
    """
    profiles = []
    for edge in window:
        distance = torch.arange(edge, dtype=torch.float32) - (edge - 1) / 2
        profiles.append(torch.exp(-0.5 * (distance / (edge / 8)) ** 2))
    weights = profiles[0][:, None, None] * profiles[1][None, :, None] * profiles[2][None, None, :]
    # Corners of the volume are seen by one window only, and must not be divided by almost nothing.
    return weights.clamp_min(1e-4).to(device)
