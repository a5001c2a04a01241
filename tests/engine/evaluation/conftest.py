"""Label maps on disk, and how a row of a result is found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from lunet_cli.results.evaluation import EvalResult, MetricSummary


def _write(
    path: Path, array: np.ndarray, spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
) -> Path:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing)
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path))
    return path


def _make_data(folder: Path, count: int = 4) -> Path:
    """Cases whose reference is intensity above 100, but for one plane of case 0."""
    for index in range(count):
        image = np.zeros((12, 10, 8), np.int16)
        image[2:10, 2:8, 2:6] = 150
        label = (image > 100).astype(np.uint8)
        if index == 0:
            label[2] = 0
        _write(folder / f"images/case{index}.nii.gz", image, (2.0, 1.0, 1.0))
        _write(folder / f"labels/case{index}.nii.gz", label, (2.0, 1.0, 1.0))
    return folder


@pytest.fixture
def write() -> Callable[..., Path]:
    """Write an array (z, y, x) as an image; spacing is (x, y, z) mm."""
    return _write


@pytest.fixture
def make_data() -> Callable[..., Path]:
    """Make a labelled data set of `count` cases."""
    return _make_data


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Four labelled cases."""
    return _make_data(tmp_path / "data")


@pytest.fixture
def find() -> Callable[[EvalResult, str, str], MetricSummary]:
    """Find what was measured of a label by a metric."""

    def find_row(result: EvalResult, label: str, metric: str) -> MetricSummary:
        return next(row for row in result.summaries if (row.label, row.metric) == (label, metric))

    return find_row
