from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from lunet_cli.engine.inference import sliding_window
from lunet_cli.engine.inference.sliding_window import ArrayInput, Forward, Size

WINDOW = (8, 6, 4)
SIZES = [
    (8, 6, 4),
    (5, 3, 2),
    (7, 6, 3),
    (16, 12, 8),
    (19, 11, 9),
    (8, 13, 4),
    (3, 17, 5),
    (9, 7, 5),
]


def _pointwise(batch: Tensor) -> Tensor:
    """Three channels that depend on the voxel alone, at zero not zero."""
    return torch.cat([2 * batch + 1, batch**2 - 3, -batch], dim=1)


def predict_logits(forward: Forward, images: Iterable[Tensor], **options: Any) -> Iterator[Tensor]:
    return sliding_window.predict_logits(
        forward, (ArrayInput(image.numpy()) for image in images), **options
    )


class Recorder:
    """A pointwise network that keeps the shapes it was given."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, batch: Tensor) -> Tensor:
        self.shapes.append(tuple(batch.shape))
        return _pointwise(batch)


def _volumes(sizes: list[Size]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(1, *size, generator=generator) for size in sizes]


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5])
@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("size", SIZES)
def test_pointwise_network_gives_the_same_as_on_the_whole_volume(
    size: Size, batch_size: int, overlap: float
) -> None:
    (image,) = _volumes([size])
    recorder = Recorder()
    (logits,) = predict_logits(
        recorder, [image], window=WINDOW, batch_size=batch_size, overlap=overlap
    )
    assert logits.shape == (3, *size)
    torch.testing.assert_close(logits, _pointwise(image[None])[0], atol=1e-4, rtol=1e-4)
    assert all(shape[1:] == (1, *WINDOW) for shape in recorder.shapes)
    assert all(shape[0] <= batch_size for shape in recorder.shapes)


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_outputs_come_in_the_order_of_the_volumes(batch_size: int) -> None:
    images = _volumes(SIZES)
    outputs = list(predict_logits(_pointwise, images, window=WINDOW, batch_size=batch_size))
    assert len(outputs) == len(images)
    for image, logits in zip(images, outputs, strict=True):
        torch.testing.assert_close(logits, _pointwise(image[None])[0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("size", "overlap", "expected"),
    [
        ((8, 6, 4), 0.5, 1),
        ((2, 2, 2), 0.5, 1),
        ((16, 6, 4), 0.0, 2),
        ((16, 6, 4), 0.5, 3),  # starts 0, 4, 8
        ((17, 12, 8), 0.0, 3 * 2 * 2),
        ((9, 6, 4), 0.0, 2),
    ],
)
def test_number_of_windows(size: Size, overlap: float, expected: int) -> None:
    recorder = Recorder()
    list(predict_logits(recorder, _volumes([size]), window=WINDOW, batch_size=1, overlap=overlap))
    assert len(recorder.shapes) == expected


def test_batches_span_volumes() -> None:
    recorder = Recorder()
    # 1 + 3 + 1 + 2 windows
    images = _volumes([(8, 6, 4), (16, 6, 4), (4, 4, 4), (12, 6, 4)])
    list(predict_logits(recorder, images, window=WINDOW, batch_size=3))
    assert [shape[0] for shape in recorder.shapes] == [3, 3, 1]


def test_small_volume_lies_in_the_middle_of_its_window() -> None:
    def position(batch: Tensor) -> Tensor:
        return torch.arange(8.0).reshape(1, 1, 8, 1, 1).expand(len(batch), 1, 8, 6, 4)

    (logits,) = predict_logits(position, [torch.ones(1, 3, 6, 4)], window=WINDOW, batch_size=1)
    # Five planes are missing: two before, three behind.
    assert logits[0, :, 0, 0].tolist() == [2, 3, 4]


def test_small_volume_is_surrounded_by_zeros() -> None:
    def total(batch: Tensor) -> Tensor:
        return batch.sum(dim=(1, 2, 3, 4)).reshape(-1, 1, 1, 1, 1).expand(-1, 1, *WINDOW)

    (logits,) = predict_logits(total, [torch.ones(2, 3, 2, 1)], window=WINDOW, batch_size=1)
    assert logits.shape == (1, 3, 2, 1)
    assert logits.unique().tolist() == [12]


def test_middle_of_a_window_weighs_more_than_its_rim() -> None:
    calls = iter(range(3))

    def numbered(batch: Tensor) -> Tensor:
        return torch.full((1, 1, *WINDOW), float(next(calls)))

    (logits,) = predict_logits(numbered, [torch.zeros(1, 16, 6, 4)], window=WINDOW, batch_size=1)
    # Windows start at 0, 4 and 8; their middles lie between planes 3 and 4, 7 and 8, 11 and 12.
    profile = logits[0, :, 3, 2]
    assert profile[:4].tolist() == [0, 0, 0, 0]
    assert profile[12:].tolist() == [2, 2, 2, 2]
    assert torch.all(profile.diff() >= 0)
    assert profile[4] < 0.5 < profile[6]
    # Half-way between the middles of two windows both weigh the same.
    assert float(profile[5] + profile[6]) == pytest.approx(1, abs=1e-4)


def test_low_precision_logits_become_float32() -> None:
    (logits,) = predict_logits(
        lambda batch: batch.bfloat16(), [torch.ones(1, 16, 6, 4)], window=WINDOW, batch_size=2
    )
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, torch.ones(1, 16, 6, 4))


def test_volumes_are_taken_one_by_one() -> None:
    taken: list[int] = []

    def images() -> Iterator[Tensor]:
        for index in range(4):
            taken.append(index)
            yield torch.zeros(1, *WINDOW)

    outputs = predict_logits(_pointwise, images(), window=WINDOW, batch_size=1)
    next(outputs)
    assert taken == [0]


def test_no_volumes_give_no_logits() -> None:
    assert list(predict_logits(_pointwise, [], window=WINDOW, batch_size=2)) == []
