from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from lunet_cli.engine.data.reading import read_image

ARRAY = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)


@pytest.mark.parametrize(
    "name",
    ["größe.nii.gz", "患者.nrrd", os.fsdecode(b"\xff\xfe.mha"), "a\nb.nii", "x" * 240 + ".mha"],
)
def test_names_that_itk_cannot_open(name: str, tmp_path: Path, write_volume: Any) -> None:
    suffix = name[name.index(".") :]
    path = write_volume(tmp_path / f"a{suffix}", ARRAY).rename(tmp_path / name)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read_image([path])[0]), ARRAY)
