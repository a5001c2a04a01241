"""What the tests of readers share: refusals, remarks, damaged headers and DICOM series."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from lunet_cli.engine.data.reading import read_image
from lunet_cli.errors import DataError

SPACING = (0.7, 0.8, 2.5)
ORIGIN = (-10.5, 20.25, 30.0)
# 30 degrees about z, then 40 about x: no axis of the image lies along an axis of the patient.
_C30, _S30, _C40, _S40 = 0.8660254038, 0.5, 0.7660444431, 0.6427876097
OBLIQUE = (_C30, -_S30, 0.0, _S30 * _C40, _C30 * _C40, -_S40, _S30 * _S40, _C30 * _S40, _C40)
ARRAY = np.random.default_rng(0).integers(0, 2000, (5, 6, 7)).astype(np.int16)


@pytest.fixture
def refusal() -> Callable[..., str]:
    """Give the message, of one line, with which a reader refuses what it is called with."""

    def ask(read: Callable[..., object], argument: object) -> str:
        with pytest.raises(DataError) as caught:
            read(argument)
        assert "\n" not in caught.value.message
        return caught.value.message

    return ask


@pytest.fixture
def remarks_on() -> Callable[[Path], list[str]]:
    """Give what is odd about a volume, without its name."""

    def ask(path: Path) -> list[str]:
        remarks: list[str] = []
        read_image([path], on_remark=remarks.append)
        return [remark.removeprefix(f"{path}: ") for remark in remarks]

    return ask


@pytest.fixture
def change_nifti() -> Callable[..., Path]:
    """Write other values into a NIfTI header: format and first byte of each field."""

    def change(path: Path, **fields: tuple[str, int, tuple[float, ...]]) -> Path:
        content = bytearray(path.read_bytes())
        for kind, start, values in fields.values():
            struct.pack_into(kind, content, start, *values)
        path.write_bytes(content)
        return path

    return change


@pytest.fixture
def series(tmp_path: Path, write_series: Any) -> Path:
    """A series of five oblique slices."""
    folder = tmp_path / "ct"
    return write_series(folder, ARRAY, spacing=SPACING, origin=ORIGIN, direction=OBLIQUE)


@pytest.fixture
def change_slices() -> Callable[[Path, Callable[[Dataset, int], None]], None]:
    """Change each slice of a series, in the order of positions."""

    def change_all(folder: Path, change: Callable[[Dataset, int], None]) -> None:
        for index, path in enumerate(sorted(folder.iterdir(), reverse=True)):
            dataset = pydicom.dcmread(path)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                change(dataset, index)
                dataset.save_as(path)

    return change_all
