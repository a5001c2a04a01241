"""Real windows to compare exported networks on, and to calibrate them with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813
import torch
from torch import Tensor

from lunet_cli.engine.checkpoints.models import Model
from lunet_cli.engine.data.phantom import make_phantom
from lunet_cli.engine.data.reading import read_image
from lunet_cli.engine.inference.inputs import find_inputs
from lunet_cli.engine.inference.labelled_cases import select_cases
from lunet_cli.engine.inference.sliding_window import Size, Stitcher
from lunet_cli.errors import DataError, LunetError
from lunet_cli.results.events import Caution, Event, cautions_to
from lunet_cli.results.words import plural

_PER_VOLUME = 2
_OVERLAP = 0.5
_LARGEST_EDGE = 128  # of a network that sees whole volumes


def windows_of_files(
    model: Model, source: Path, *, max_windows: int, on_event: Callable[[Event], None]
) -> list[Tensor]:
    """Windows (C, D, H, W) from the volumes of a folder or a file, as the network sees them.

    Raises:
        DataError: No volume there can be used.
    """
    cases, failures = find_inputs([source], num_channels=model.card.network.in_channels, series=None, on_event=on_event)
    if not cases:
        raise DataError(failures[0].message if failures else f"{source}: holds no volume")
    return _collect((read_image(case.images, on_remark=cautions_to(on_event)) for case in cases), model, max_windows)


def windows_at_hand(model: Model, *, max_windows: int, on_event: Callable[[Event], None]) -> tuple[list[Tensor], str]:
    """Windows of the validation cases of the training, or of phantoms where those are gone; and where from in words."""
    try:
        case_set, cases, origin = select_cases(model, None, "val")
        return _collect((case_set.reader(case)[0] for case in cases), model, max_windows), origin
    except LunetError as error:
        on_event(Caution(f"compared on built-in phantom volumes ({error.message}); name some of yours with --check"))
        return _collect(_phantoms(model.card.network.in_channels), model, max_windows), "phantom volumes"


def _phantoms(num_channels: int) -> Iterator[list[sitk.Image]]:
    for seed in range(4):
        rng = np.random.default_rng(seed)
        volumes = [make_phantom(64, noise=0.05, rng=rng)[0] for _ in range(num_channels)]
        yield [sitk.GetImageFromArray(volume.astype(np.float32)) for volume in volumes]


def _collect(volumes: Iterator[list[sitk.Image]], model: Model, max_windows: int) -> list[Tensor]:
    """From each volume the window in the middle and the first one, until there are enough."""
    found: list[Tensor] = []
    for channels in volumes:
        if len(channels) != model.card.network.in_channels:
            wanted = model.card.network.in_channels
            raise DataError(
                f"a volume to compare on has {plural(len(channels), 'channel')}, and the network takes {wanted}"
            )
        image, _ = model.card.preprocessing.apply(channels)
        depth, height, width = (min(size, _LARGEST_EDGE) for size in image.size)
        window: Size = model.window or (depth, height, width)
        stitcher = Stitcher(image, window=window, overlap=_OVERLAP, on_planes=lambda logits, first: None)
        middle = len(stitcher.starts) // 2
        for index in sorted({middle, 0}, reverse=True)[:_PER_VOLUME]:
            found.append(stitcher.read(stitcher.starts[index]))
        if len(found) >= max_windows:
            break
    return found[:max_windows]


def same_size(windows: Sequence[Tensor]) -> list[Tensor]:
    """Those windows that have the size of the first."""
    return [window for window in windows if window.shape == windows[0].shape]


def smaller(window: Tensor) -> Tensor:
    """The window without its last voxels along each axis, so that no stride divides its size."""
    depth, height, width = (max(1, size - cut) for size, cut in zip(window.shape[1:], (1, 3, 5), strict=True))
    return torch.clone(window[:, :depth, :height, :width])
