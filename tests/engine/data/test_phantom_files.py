"""Phantoms as files: read back by the layouts, with the numbers that were asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from lunet_cli.config.options import PhantomOptions
from lunet_cli.engine.data.layouts import detect_layout, find_cases
from lunet_cli.engine.data.phantom_files import write_phantom
from lunet_cli.errors import OutputError


@pytest.mark.parametrize("layout", ["harp", "paired", "msd", "nnunet"])
@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_every_layout_reads_what_was_written(tmp_path: Path, layout: str, suffix: str) -> None:
    options = {"layout": layout, "num_cases": 2, "size": (4, 18, 20), "suffix": suffix}
    options["spacing_mm"] = (3.0, 0.8, 0.7)
    write_phantom(tmp_path / "data", PhantomOptions.model_validate(options))
    assert detect_layout(tmp_path / "data") == layout
    found = find_cases(tmp_path / "data", "auto")
    assert len(found.cases) == 2
    images, label = found.reader(found.cases[0])
    assert images[0].GetSize() == label.GetSize() == (20, 18, 4)
    assert np.allclose(images[0].GetSpacing(), (0.7, 0.8, 3.0))
    assert set(np.unique(sitk.GetArrayFromImage(label))) <= {0, 1, 2, 3}


def test_ct_is_whole_numbers_with_air_around(tmp_path: Path) -> None:
    options = PhantomOptions(num_cases=1, size=(24, 24, 24), modality="ct")
    write_phantom(tmp_path, options)
    image = sitk.ReadImage(str(tmp_path / "imagesTr" / "phantom_0000_0000.nii.gz"))
    array = sitk.GetArrayFromImage(image)
    assert array.dtype == np.int16
    assert abs(np.median(array[:2]) + 1000) < 50


def test_channels_are_files_of_one_case(tmp_path: Path) -> None:
    write_phantom(tmp_path, PhantomOptions(num_cases=1, size=(16, 16, 16), num_channels=10))
    found = find_cases(tmp_path, "auto")
    assert len(found.cases[0].images) == 10


def test_what_is_there_is_left(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("x", encoding="utf-8")
    with pytest.raises(OutputError, match="is not empty"):
        write_phantom(tmp_path)
