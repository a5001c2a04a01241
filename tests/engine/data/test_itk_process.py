from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from lunet_cli.engine.data import itk_process
from lunet_cli.engine.data.reading import read_image

ARRAY = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)


def test_a_file_that_ends_the_process_of_itk_is_one_line(
    tmp_path: Path, write_volume: Any, monkeypatch: pytest.MonkeyPatch, refusal: Any
) -> None:
    path = write_volume(tmp_path / "a.mha", ARRAY)
    path.write_bytes(path.read_bytes().replace(b"NDims = 3", b"NDims = 100"))
    assert refusal(read_image, [path]) == f"{path}: cannot be read: 'NDims' is 100"
    other = path.rename(tmp_path / "a.vtk")
    assert "it is not an image, or its format is unknown" in refusal(read_image, [other])
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    ended = f"{other}: cannot be read: it is damaged (the process that read it has crashed)"
    assert refusal(read_image, [other]) == ended


def test_a_process_that_hangs_is_one_line(
    tmp_path: Path, write_volume: Any, monkeypatch: pytest.MonkeyPatch, refusal: Any
) -> None:
    path = write_volume(tmp_path / "a.vtk", ARRAY)
    monkeypatch.setattr(itk_process, "_SLOWEST_SECONDS", 0.001)
    assert (
        refusal(read_image, [path])
        == f"{path}: cannot be read: reading it took longer than 0.001 s"
    )


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux takes the limit on memory")
def test_memory_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "large.vtk"
    sitk.WriteImage(sitk.Image([300, 300, 300], sitk.sitkUInt8), str(path))
    assert itk_process.read_voxels_with_itk(path, limit_mib=200).shape == (300, 300, 300)
    too_little = 1 - itk_process._BASE_MIB
    with pytest.raises(itk_process.ItkError, match="damaged"):
        itk_process.read_voxels_with_itk(path, limit_mib=too_little)
