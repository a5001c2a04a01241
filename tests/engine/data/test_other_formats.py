from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from lunet_cli.engine.data.reading import read_header, read_image, stored_number_type
from lunet_cli.engine.data.volume import Geometry

ARRAY = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
SPACING = (0.7, 0.8, 2.5)
ORIGIN = (-10.5, 20.25, 30.0)


@pytest.mark.parametrize("name", ["a.vtk", "größe.vtk", os.fsdecode(b"\xff.vtk")])
def test_other_formats_are_read_by_itk_in_a_process_of_its_own(
    name: str, tmp_path: Path, write_volume: Any
) -> None:
    path = write_volume(tmp_path / "plain.vtk", ARRAY, spacing=SPACING, origin=ORIGIN).rename(
        tmp_path / name
    )
    (image,) = read_image([path])
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), ARRAY)
    assert image.GetSpacing() == pytest.approx(SPACING)
    assert read_header(path) == (Geometry.of(image), 1)
    assert stored_number_type(path) == "16-bit signed integer"
