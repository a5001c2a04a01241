"""What the tests of the engine share: one thread, and writing volumes and DICOM series."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import torch

IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


class WriteVolume(Protocol):
    def __call__(
        self,
        path: Path,
        array: np.ndarray[Any, Any],
        *,
        spacing: tuple[float, ...] = ...,
        origin: tuple[float, ...] = ...,
        direction: tuple[float, ...] = ...,
    ) -> Path: ...


class WriteSeries(Protocol):
    def __call__(
        self,
        folder: Path,
        array: np.ndarray[Any, Any],
        *,
        spacing: tuple[float, ...] = ...,
        origin: tuple[float, ...] = ...,
        direction: tuple[float, ...] = ...,
        uid: str = ...,
        number: int = ...,
        description: str = ...,
    ) -> Path: ...


def _image(array: np.ndarray[Any, Any], spacing: Any, origin: Any, direction: Any) -> sitk.Image:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    image.SetDirection(direction)
    return image


@pytest.fixture(scope="session")
def write_volume() -> WriteVolume:
    """Write an array (z, y, x) to a file; spacing and origin are in x, y, z."""

    def write(
        path: Path,
        array: np.ndarray[Any, Any],
        *,
        spacing: tuple[float, ...] = (1.0, 1.0, 1.0),
        origin: tuple[float, ...] = (0.0, 0.0, 0.0),
        direction: tuple[float, ...] = IDENTITY,
    ) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        sitk.WriteImage(
            _image(array, spacing, origin, direction),
            str(path),
            useCompression=path.suffix == ".gz",
        )
        return path

    return write


@pytest.fixture(scope="session")
def write_series() -> WriteSeries:
    """Write an int16 array (z, y, x) as a DICOM series, names in the reverse order."""

    def write(
        folder: Path,
        array: np.ndarray[Any, Any],
        *,
        spacing: tuple[float, ...] = (1.0, 1.0, 1.0),
        origin: tuple[float, ...] = (0.0, 0.0, 0.0),
        direction: tuple[float, ...] = IDENTITY,
        uid: str = "1.2.826.0.1.1",
        number: int = 1,
        description: str = "",
    ) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        image = _image(array.astype(np.int16), spacing, origin, direction)
        axes = np.array(direction).reshape(3, 3)
        writer = sitk.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        for k in range(len(array)):
            position = np.array(origin) + axes[:, 2] * spacing[2] * k
            tags = {
                "0008|0018": f"{uid}.{k + 1}",
                "0008|0060": "CT",
                "0008|103e": description,
                "0018|0050": str(spacing[2]),
                "0020|000d": "1.2.826.0.1",
                "0020|000e": uid,
                "0020|0011": str(number),
                "0020|0013": str(k + 1),
                "0020|0032": "\\".join(f"{value:.8f}" for value in position),
                "0020|0037": "\\".join(f"{value:.8f}" for value in [*axes[:, 0], *axes[:, 1]]),
            }
            part = image[:, :, k]
            for tag, value in tags.items():
                part.SetMetaData(tag, value)
            writer.SetFileName(str(folder / f"{uid}-{len(array) - k:03d}.dcm"))
            writer.Execute(part)
        return folder

    return write


@pytest.fixture(autouse=True, scope="module")
def single_thread() -> Iterator[None]:
    """Tiny tensors gain nothing from more threads, and lose much on a busy machine."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)
