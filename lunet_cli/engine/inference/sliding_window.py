"""Logits of whole volumes from a network that sees one window at a time, with memory for one slab of windows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cache
from itertools import product
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

Size = tuple[int, int, int]
Forward = Callable[[Tensor], Tensor]
OnPlanes = Callable[[Tensor, int], None]


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
        array: Intensities (C, D, H, W), float32.
    """

    def __init__(self, array: npt.NDArray[np.float32]) -> None:
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
        padded = [max(size, edge) for size, edge in zip(image.size, window, strict=True)]
        self._front = [(have - size) // 2 for have, size in zip(padded, image.size, strict=True)]
        first, stop = (row + self._front[1] for row in rows or (0, image.size[1]))
        columns = [
            window_starts(size, edge, overlap) for size, edge in zip(padded, window, strict=True)
        ]
        columns[1] = [start for start in columns[1] if start < stop and start + window[1] > first]
        self.starts: list[Size] = [(z, y, x) for z, y, x in product(*columns)]
        self._rows = (first, stop)
        self._first_row = columns[1][0]
        self._extent = (window[0], columns[1][-1] + window[1] - columns[1][0], padded[2])
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
        where, padding = [], []
        for first, front, edge, size in zip(
            start, self._front, self._window, self._image.size, strict=True
        ):
            low, high = first - front, first - front + edge
            where.append(slice(max(low, 0), min(high, size)))
            padding.append((max(-low, 0), max(high - size, 0)))
        image = torch.from_numpy(self._image.crop(tuple(where)))
        flat = [side for pair in reversed(padding) for side in pair]
        return F.pad(image, flat) if any(flat) else image

    def add(self, start: Size, logits: Tensor) -> None:
        """Take in the logits (K, *window), float32, of the next window."""
        self._num_done += 1
        if len(self.starts) == 1:
            self._hand_on(logits)
            return
        if self._total is None:
            # In the layout of the logits, sums run over memory in one go.
            channels_last = logits.stride(0) == 1
            self._total = logits.new_zeros(
                (*self._extent, len(logits)) if channels_last else (len(logits), *self._extent)
            )
            self._total = self._total.movedim(-1, 0) if channels_last else self._total
            self._weight = logits.new_full(self._extent, 1e-12)
        self._advance(start[0])
        top, left = start[1] - self._first_row, start[2]
        where = (..., slice(top, top + self._window[1]), slice(left, left + self._window[2]))
        importance = _importance(self._window, logits.device)
        self._total[where].addcmul_(logits, importance)
        self._weight[where] += importance
        if self.is_done:
            self._advance(self._base + self._window[0])

    def _advance(self, plane: int) -> None:
        """Hand on all planes before `plane`, and make room for as many new ones."""
        assert self._total is not None
        count = plane - self._base
        if count == 0:
            return
        final = self._total[:, :count]
        final /= self._weight[:count]
        self._hand_on(final)
        for buffer, axis, empty in ((self._total, 1, 0.0), (self._weight, 0, 1e-12)):
            kept = buffer.shape[axis] - count
            if kept > 0:
                rest = buffer.narrow(axis, count, kept)
                buffer.narrow(axis, 0, kept).copy_(rest.clone() if kept > count else rest)
            buffer.narrow(axis, max(kept, 0), buffer.shape[axis] - max(kept, 0)).fill_(empty)
        self._base = plane

    def _hand_on(self, logits: Tensor) -> None:
        """Cut off what lies around the volume."""
        (depth, _, width), (front, _, left) = self._image.size, self._front
        first, stop = max(self._base, front), min(self._base + logits.shape[1], front + depth)
        if first >= stop:
            return
        planes = slice(first - self._base, stop - self._base)
        rows = slice(*(row - self._first_row for row in self._rows))
        self._on_planes(logits[:, planes, rows, left : left + width], first - front)


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

    def run() -> None:
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
                run()
        if queue and len(stitcher.starts) > batch_size:
            run()
        while waiting and waiting[0].is_done:
            yield waiting.pop(0)
    if queue:
        run()
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
    collected: dict[int, list[Tensor]] = {}

    def collect(image: VolumeInput) -> Stitcher:
        planes: list[Tensor] = []
        stitcher = Stitcher(
            image,
            window=window,
            overlap=overlap,
            on_planes=lambda logits, _: planes.append(logits.clone()),
        )
        collected[id(stitcher)] = planes
        return stitcher

    for stitcher in run_windows(forward, map(collect, images), batch_size=batch_size):
        yield torch.cat(collected.pop(id(stitcher)), dim=1)


def window_starts(size: int, edge: int, overlap: float) -> list[int]:
    """First voxels of the windows along an axis of at least `edge` voxels, evenly spread, the last one flush."""
    stride = max(1, int(edge * (1 - overlap)))
    count = -(-(size - edge) // stride) + 1
    return [round(i * (size - edge) / max(1, count - 1)) for i in range(count)]


@cache
def _importance(window: Size, device: torch.device) -> Tensor:
    """Weights (D, H, W) that fall from 1 in the middle with a standard deviation of an eighth of the edge."""
    profiles = []
    for edge in window:
        distance = torch.arange(edge, dtype=torch.float32) - (edge - 1) / 2
        profiles.append(torch.exp(-0.5 * (distance / (edge / 8)) ** 2))
    weights = profiles[0][:, None, None] * profiles[1][None, :, None] * profiles[2][None, None, :]
    return weights.clamp_min(1e-4).to(device)
