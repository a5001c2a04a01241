from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

WriteImage = Callable[..., Path]
IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


@pytest.fixture(scope="session")
def write_image() -> WriteImage:
    """Write an array (z, y, x) to a file; spacing, origin and direction in x, y, z."""

    def write(
        path: Path,
        array: np.ndarray[Any, Any],
        *,
        spacing: tuple[float, ...] = (1.0, 1.0, 1.0),
        origin: tuple[float, ...] = (0.0, 0.0, 0.0),
        direction: tuple[float, ...] = IDENTITY,
    ) -> Path:
        image = sitk.GetImageFromArray(array)
        image.SetSpacing(spacing)
        image.SetOrigin(origin)
        image.SetDirection(direction)
        path.parent.mkdir(parents=True, exist_ok=True)
        sitk.WriteImage(image, str(path))
        return path

    return write


@pytest.fixture(scope="session")
def write_dicom() -> WriteImage:
    """Write an int16 array (z, y, x) as a DICOM series into a folder."""

    def write(
        folder: Path,
        array: np.ndarray[Any, Any],
        *,
        spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
        origin: tuple[float, float, float] = (0.0, 0.0, 0.0),
        direction: tuple[float, ...] = IDENTITY,
        uid: str = "1.2.826.0.1.1",
        number: int = 1,
        description: str = "T1",
    ) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        axes = np.array(direction).reshape(3, 3)
        writer = sitk.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        for k, plane in enumerate(array.astype(np.int16)):
            part = sitk.GetImageFromArray(plane)
            part.SetSpacing(spacing[:2])
            tags = {
                "0008|0018": f"{uid}.{k + 1}",
                "0008|0060": "MR",
                "0008|103e": description,
                "0018|0050": str(spacing[2]),
                "0020|000d": "1.2.826.0.1",
                "0020|000e": uid,
                "0020|0011": str(number),
                "0020|0013": str(k + 1),
                "0020|0032": "\\".join(f"{value:.8f}" for value in np.array(origin) + axes[:, 2] * spacing[2] * k),
                "0020|0037": "\\".join(f"{value:.8f}" for value in [*axes[:, 0], *axes[:, 1]]),
                "0028|0030": f"{spacing[1]}\\{spacing[0]}",
            }
            for tag, value in tags.items():
                part.SetMetaData(tag, value)
            writer.SetFileName(str(folder / f"{uid}-{k:03d}.dcm"))
            writer.Execute(part)
        return folder

    return write
