from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from lunet_cli.engine.checkpoints.models import load_model
from lunet_cli.engine.exporting.windows import (
    same_size,
    smaller,
    volumes_of_files,
    windows_of_files,
)


def test_smaller_window_is_divided_by_no_stride() -> None:
    assert smaller(torch.zeros(1, 16, 16, 16)).shape == (1, 15, 13, 11)
    assert smaller(torch.zeros(1, 1, 3, 4)).shape == (1, 1, 1, 1)


def test_windows_have_the_size_of_the_first() -> None:
    first, other = torch.zeros(1, 4, 4, 4), torch.zeros(1, 4, 4, 5)
    assert [window.shape for window in same_size([first, other, first])] == [first.shape] * 2


def test_volume_is_cut_to_its_middle(
    volumes: Path, make_threshold_model: Callable[..., Path], tmp_path: Path
) -> None:
    """Of 20 x 18 x 25 voxels, 1.5 windows of 8 voxels along each axis."""
    model = load_model(make_threshold_model(tmp_path / "m.pt", window=(8, 8, 8)))
    (channels,) = volumes_of_files(model, volumes, max_volumes=1, on_event=lambda event: None)
    assert channels[0].GetSize() == (12, 12, 12)
    assert channels[0].GetOrigin() == (6.0, 3 * 1.5, 4 * 2.0)


def test_two_windows_of_each_volume_until_there_are_enough(
    volumes: Path, make_threshold_model: Callable[..., Path], tmp_path: Path
) -> None:
    model = load_model(make_threshold_model(tmp_path / "m.pt", window=(8, 8, 8)))
    found = windows_of_files(model, volumes, max_windows=3, on_event=lambda event: None)
    assert [window.shape for window in found] == [(1, 8, 8, 8)] * 3
