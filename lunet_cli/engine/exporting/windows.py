"""Real volumes to compare exported networks on, and windows of some to calibrate them with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813
from torch import Tensor

from lunet_cli.config.vocabulary import Size
from lunet_cli.engine.checkpoints.models import Model
from lunet_cli.engine.data.phantom import make_phantom
from lunet_cli.engine.data.reading import read_image
from lunet_cli.engine.data.volume import Geometry
from lunet_cli.engine.inference.inputs import find_inputs
from lunet_cli.engine.inference.labelled_cases import select_cases
from lunet_cli.engine.inference.sliding_window import Stitcher
from lunet_cli.errors import DataError, LunetError
from lunet_cli.results.events import Event, WarningIssued, warnings_to
from lunet_cli.results.words import plural

Channels = list[sitk.Image]
_OVERLAP = 0.5
# Of a network that sees whole volumes: as large as a volume that is predicted in one piece.
_LARGEST_EDGE = 128
# Edge of a volume to compare on, in windows: two of them along each axis, eight in all.
_MOST_WINDOWS = 1.5


def volumes_of_files(
    model: Model, source: Path, *, max_volumes: int, on_event: Callable[[Event], None]
) -> list[Channels]:
    """The first volumes of a folder or a file; of one larger than a few windows, its middle.

    Raises:
        DataError: No volume there can be used.
    """
    volumes = islice(_read_files(model, source, on_event), max_volumes)
    return [_middle(channels, model) for channels in volumes]


def volumes_at_hand(
    model: Model, *, max_volumes: int, on_event: Callable[[Event], None]
) -> tuple[list[Channels], str]:
    """Validation cases of the training, or phantoms where those are gone.

    Returns:
        The volumes, and where they come from, in words.
    """
    volumes: Iterable[Channels]
    try:
        found = select_cases(model, None, "val")
        cases, origin = found.cases[:max_volumes], found.origin
        volumes = [found.case_set.reader(case)[0] for case in cases]
    except LunetError as error:
        on_event(
            WarningIssued(
                f"compared on built-in phantom volumes ({error.lines[0]}); "
                "name some of yours with `check`"
            )
        )
        volumes, origin = _phantoms(model.card.network.in_channels), "phantom volumes"
    return [_middle(channels, model) for channels in volumes], origin


def windows_of_files(
    model: Model, source: Path, *, max_windows: int, on_event: Callable[[Event], None]
) -> list[Tensor]:
    """Windows (C, D, H, W) from the volumes of a folder or a file, as the network sees them.

    Raises:
        DataError: No volume there can be used.
    """
    return _collect(_read_files(model, source, on_event), model, max_windows)


def same_size(windows: Sequence[Tensor]) -> list[Tensor]:
    """Those windows that have the size of the first."""
    return [window for window in windows if window.shape == windows[0].shape]


def _read_files(
    model: Model, source: Path, on_event: Callable[[Event], None]
) -> Iterator[Channels]:
    cases, failures = find_inputs(
        [source], num_channels=model.card.network.in_channels, series=None, on_event=on_event
    )
    if not cases:
        # Where all were refused, the first reason tells more than that nothing is left.
        if failures:
            raise DataError(failures[0].message)
        raise DataError(f"{source}: holds no volume")
    for case in cases:
        channels = read_image(case.images, on_remark=warnings_to(on_event))
        if len(channels) != model.card.network.in_channels:
            wanted, found = model.card.network.in_channels, plural(len(channels), "channel")
            raise DataError(f"{case.images[0]}: has {found}, and the network takes {wanted}")
        yield channels


def _middle(channels: Channels, model: Model) -> Channels:
    """The volume, or so much of its middle as a few windows cover."""
    placement = model.card.preprocessing.place(Geometry.of(channels[0]))
    first, size = [0, 0, 0], list(channels[0].GetSize())
    for axis, stored_axis in enumerate(placement.axes):
        edge: float = _LARGEST_EDGE
        if model.window is not None:
            edge = _MOST_WINDOWS * model.window[axis]
        edge_mm = edge * placement.grid.spacing_mm[axis]
        itk_axis = 2 - stored_axis
        most = max(1, round(edge_mm / placement.stored.spacing_mm[stored_axis]))
        first[itk_axis] = max(0, (size[itk_axis] - most) // 2)
        size[itk_axis] = min(size[itk_axis], most)
    return [sitk.RegionOfInterest(channel, size, first) for channel in channels]


def _phantoms(num_channels: int) -> Iterator[Channels]:
    for seed in range(4):
        rng = np.random.default_rng(seed)
        channels = []
        for _ in range(num_channels):
            volume, _ = make_phantom(64, noise=0.05, rng=rng)
            channels.append(sitk.GetImageFromArray(volume.astype(np.float32)))
        yield channels


def _collect(volumes: Iterator[Channels], model: Model, max_windows: int) -> list[Tensor]:
    """From each volume the window in the middle and the first one, until there are enough."""
    found: list[Tensor] = []
    for channels in volumes:
        image, _ = model.card.preprocessing.apply(channels)
        depth, height, width = np.minimum(image.size, _LARGEST_EDGE).tolist()
        window: Size = model.window or (depth, height, width)
        stitcher = Stitcher(
            image, window=window, overlap=_OVERLAP, on_planes=lambda logits, first: None
        )
        # The middle holds what is to be found, a corner mostly air: both ends of the ranges.
        for index in sorted({len(stitcher.starts) // 2, 0}, reverse=True):
            found.append(stitcher.read(stitcher.starts[index]))
        if len(found) >= max_windows:
            break
    return found[:max_windows]


def smaller(window: Tensor) -> Tensor:
    """The window without its last voxels along each axis, so that no stride divides its size."""
    depth, height, width = window.shape[1:]
    inside = window[:, : max(1, depth - 1), : max(1, height - 3), : max(1, width - 5)]
    return inside.clone()
