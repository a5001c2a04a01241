from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from lunet_cli.engine.data.reading import read_image
from lunet_cli.errors import DataError

ARRAY = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
SPACING = (0.7, 0.8, 2.5)


def test_missing_data_file_of_a_header_is_refused(
    tmp_path: Path, write_volume: Any, refusal: Any
) -> None:
    path = write_volume(tmp_path / "a.mhd", ARRAY)
    (tmp_path / "a.raw").unlink()
    expected = f"{path}: its data file {tmp_path / 'a.raw'}: there is no such file or folder"
    assert refusal(read_image, [path]) == expected


def _write_list(folder: Path, listed: list[str], write_volume: Any) -> Path:
    path = write_volume(folder / "a.mhd", ARRAY, spacing=SPACING)
    head = path.read_text().split("ElementDataFile")[0]
    for index, plane in enumerate(ARRAY):
        (folder / f"s{index}.raw").write_bytes(plane.tobytes())
    path.write_text("\n".join([f"{head}ElementDataFile = {listed[0]}", *listed[1:], ""]))
    return path


@pytest.mark.parametrize(
    "listed", [["LIST", "s0.raw", "s1.raw", "s2.raw", "s3.raw"], ["s%d.raw 0 3 1"]]
)
def test_slices_in_files_of_their_own(listed: list[str], tmp_path: Path, write_volume: Any) -> None:
    path = _write_list(tmp_path, listed, write_volume)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read_image([path])[0]), ARRAY)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path))), ARRAY)


@pytest.mark.parametrize(
    ("listed", "words"),
    [
        (["LIST"], "names 0 data files"),
        (["LIST", "s0.raw", "s1.raw"], "names 2 data files, and its sizes ask for 4"),
        (["s%d.raw 0 9 1"], "names 10 data files, and its sizes ask for 4"),
        (
            ["LIST", "s0.raw", "s1.raw", "s2.raw", "s9.raw"],
            "s9.raw: there is no such file or folder",
        ),
        (
            ["LIST", "s0.raw", "s1.raw", "s2.raw", "a.mhd"],
            "it is damaged or incomplete|but .* follow",
        ),
    ],
)
def test_lists_that_name_too_few_files_are_refused(
    listed: list[str], words: str, tmp_path: Path, write_volume: Any
) -> None:
    path = _write_list(tmp_path, listed, write_volume)
    with pytest.raises(DataError, match=words):
        read_image([path])


def test_metaimage_that_does_not_say_its_spacing(
    tmp_path: Path, write_volume: Any, remarks_on: Any
) -> None:
    path = write_volume(tmp_path / "a.mha", ARRAY)
    path.write_bytes(path.read_bytes().replace(b"ElementSpacing", b"ElementSpacinG"))
    assert remarks_on(path) == [
        "does not say its voxel spacing; taken as 1 mm, from 0, along the patient"
    ]
