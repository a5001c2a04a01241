"""Volumes that exported networks are compared on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813


def write_volumes(folder: Path, count: int = 2, size: tuple[int, int, int] = (20, 18, 25)) -> Path:
    """Volumes with smooth structures on both sides of the threshold 100.5."""
    folder.mkdir(parents=True)
    z, y, x = np.ogrid[: size[0], : size[1], : size[2]]
    for index in range(count):
        volume = 100 + 80 * np.sin(z / 4 + index) * np.cos(y / 5) * np.sin(x / 6 + index)
        image = sitk.GetImageFromArray(volume.astype(np.int16))
        image.SetSpacing((1.0, 1.5, 2.0))
        sitk.WriteImage(image, str(folder / f"case{index}.nii.gz"))
    return folder


@pytest.fixture(scope="session")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_volumes(tmp_path_factory.mktemp("data") / "volumes")
