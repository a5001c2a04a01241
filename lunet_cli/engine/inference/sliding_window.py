"""Logits of whole volumes from a network that sees one window at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import product

import torch
from torch import Tensor

from lunet_cli.engine.data.patches import pad_to

Size = tuple[int, int, int]
Forward = Callable[[Tensor], Tensor]


@dataclass
class _Stitching:
    """A volume whose windows are being collected."""

    image: Tensor
    original: Size
    starts: list[Size]
    total: Tensor | None = None
    weight: Tensor | None = None
    num_done: int = field(default=0)

    @property
    def is_done(self) -> bool:
        return self.num_done == len(self.starts)


def predict_logits(
    forward: Forward, images: Iterable[Tensor], *, window: Size, batch_size: int, overlap: float = 0.5
) -> Iterator[Tensor]:
    """Compute the logits of volumes of any size, window by window, in batches that span volumes.

    A volume not larger than the window is padded with zeros to it; a larger one is covered by overlapping
    windows whose logits are averaged with Gaussian weights.

    Args:
        forward: From images (B, C, *window) to logits (B, K, *window).
        images: Volumes (C, D, H, W), float32.
        window: Voxels (D, H, W) that the network sees.
        batch_size: Windows per forward pass.
        overlap: Share of the window that neighbours have in common, 0 to below 1.

    Yields:
        Logits (K, D, H, W), float32, in the order of `images`, on the device of `forward`'s output.
    """
    waiting: list[_Stitching] = []
    queue: list[tuple[_Stitching, Size]] = []
    importance = _gaussian(window)
    for image in images:
        padded = pad_to(image, window)
        depth, height, width = image.shape[1:]
        stitching = _Stitching(padded, (depth, height, width), _starts(padded, window, overlap))
        waiting.append(stitching)
        for start in stitching.starts:
            queue.append((stitching, start))
            if len(queue) == batch_size:
                _run(forward, queue, window, importance)
                queue.clear()
        while waiting and waiting[0].is_done:
            yield _finish(waiting.pop(0))
    if queue:
        _run(forward, queue, window, importance)
    for stitching in waiting:
        yield _finish(stitching)


def _starts(image: Tensor, window: Size, overlap: float) -> list[Size]:
    axes = []
    for size, edge in zip(image.shape[1:], window, strict=True):
        stride = max(1, int(edge * (1 - overlap)))
        count = -(-(size - edge) // stride) + 1
        axes.append([round(i * (size - edge) / max(1, count - 1)) for i in range(count)])
    return [(z, y, x) for z, y, x in product(*axes)]


def _gaussian(window: Size) -> Tensor:
    """Weights (D, H, W) that fall from 1 in the middle with a standard deviation of an eighth of the edge."""
    profiles = []
    for edge in window:
        distance = torch.arange(edge, dtype=torch.float32) - (edge - 1) / 2
        profiles.append(torch.exp(-0.5 * (distance / (edge / 8)) ** 2))
    weights = profiles[0][:, None, None] * profiles[1][None, :, None] * profiles[2][None, None, :]
    return weights.clamp_min(1e-4)


def _slices(start: Size, window: Size) -> tuple[slice, ...]:
    return tuple(slice(first, first + edge) for first, edge in zip(start, window, strict=True))


def _run(forward: Forward, queue: list[tuple[_Stitching, Size]], window: Size, importance: Tensor) -> None:
    batch = torch.stack([stitching.image[:, *_slices(start, window)] for stitching, start in queue])
    for (stitching, start), logits in zip(queue, forward(batch).float(), strict=True):
        stitching.num_done += 1
        if len(stitching.starts) == 1:
            stitching.total = logits
            continue
        if stitching.total is None or stitching.weight is None:
            shape = stitching.image.shape[1:]
            stitching.total = logits.new_zeros(logits.shape[0], *shape)
            stitching.weight = logits.new_zeros(shape)
            stitching.weight += 1e-12
        where = _slices(start, window)
        weights = importance.to(logits.device)
        stitching.total[:, *where] += logits * weights
        stitching.weight[where] += weights


def _finish(stitching: _Stitching) -> Tensor:
    logits = stitching.total
    assert logits is not None
    if stitching.weight is not None:
        logits = logits / stitching.weight
    front = [(have - want) // 2 for have, want in zip(stitching.image.shape[1:], stitching.original, strict=True)]
    return logits[:, *(slice(f, f + want) for f, want in zip(front, stitching.original, strict=True))]
