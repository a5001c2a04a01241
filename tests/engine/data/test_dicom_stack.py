from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from lunet_cli.engine.data.reading import read_header, read_image

# 30 degrees about z, then 40 about x: no axis of the image lies along an axis of the patient.
_C30, _S30, _C40, _S40 = 0.8660254038, 0.5, 0.7660444431, 0.6427876097
OBLIQUE = (_C30, -_S30, 0.0, _S30 * _C40, _C30 * _C40, -_S40, _S30 * _S40, _C30 * _S40, _C40)


def test_tilted_gantry_is_refused_with_its_angle(
    series: Path, refusal: Any, change_slices: Any
) -> None:
    across = np.array(OBLIQUE).reshape(3, 3)[:, 1]

    def change(dataset: Dataset, index: int) -> None:
        position = np.array([float(value) for value in dataset.ImagePositionPatient])
        dataset.ImagePositionPatient = [f"{value:.8f}" for value in position + 0.4 * index * across]

    change_slices(series, change)
    # 0.4 mm sideways for 2.5 mm upwards: atan(0.16) = 9.09 degrees.
    expected = (
        f"{series}: its slices are shifted by 0.4 mm each against the one below "
        "(a gantry tilted by 9.1 degrees)"
    )
    assert refusal(read_image, [series]).startswith(expected)


def test_slice_beside_the_stack_is_named(series: Path, refusal: Any, change_slices: Any) -> None:
    def change(dataset: Dataset, index: int) -> None:
        if index == 2:
            position = np.array([float(value) for value in dataset.ImagePositionPatient])
            across = np.array(OBLIQUE).reshape(3, 3)[:, 0]
            dataset.ImagePositionPatient = [f"{value:.8f}" for value in position + 3 * across]

    change_slices(series, change)
    assert "-003.dcm lies 3 mm beside the stack of the others" in refusal(read_image, [series])


def test_duplicates_and_several_volumes(series: Path, refusal: Any) -> None:
    first = sorted(series.iterdir())[0]
    shutil.copy(first, series / "copy.dcm")
    assert f"{first.name} and copy.dcm lie at the same place" in refusal(read_image, [series])
    (series / "copy.dcm").unlink()
    for path in list(series.iterdir()):
        shutil.copy(path, series / f"echo2-{path.name}")
    assert "holds 2 images at each of 5 places" in refusal(read_image, [series])


def test_single_slice(series: Path, remarks_on: Any, change_slices: Any) -> None:
    keep, *others = sorted(series.iterdir())
    for path in others:
        path.unlink()
    assert read_header(series)[0].spacing_mm[0] == 2.5  # Slice Thickness
    change_slices(series, lambda dataset, index: delattr(dataset, "SliceThickness"))
    assert "has one slice and does not say its thickness; taken as 1 mm" in remarks_on(series)
    assert keep.is_file()
