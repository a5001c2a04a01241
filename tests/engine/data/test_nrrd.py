from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813

from lunet_cli.engine.data.reading import read_image

ARRAY = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)


def test_nrrd_of_other_tools(tmp_path: Path, remarks_on: Any) -> None:
    path = tmp_path / "a.nhdr"
    (tmp_path / "a.raw").write_bytes(b"one\ntwo\n" + bytes(5) + ARRAY.tobytes())
    head = [
        "NRRD0005",
        "# a comment",
        "type: int16",
        "dimension: 3",
        "sizes: 6 5 4",
        "endian: little",
    ]
    place = [
        "space: right-anterior-superior",
        "space directions: (2,0,0) (0,3,0) (0,0,4)",
        "space origin: (1,2,3)",
    ]
    data = ["encoding: raw", "line skip: 2", "byte skip: 5", "key:=value", "data file: a.raw"]
    path.write_text("\n".join([*head, *place, *data]))
    (image,) = read_image([path])
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), ARRAY)
    assert image.GetSpacing() == (2, 3, 4)
    assert image.GetOrigin() == (-1, -2, 3)
    assert image.GetDirection() == (-1, 0, 0, 0, -1, 0, 0, 0, 1)
    data[1:3] = ["byte skip: -1"]
    path.write_text("\n".join([*head, *place, *data]))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read_image([path])[0]), ARRAY)
    path.write_text("\n".join([*head, "spacings: 2 3 4", *data]))
    assert read_image([path])[0].GetSpacing() == (2, 3, 4)
    assert remarks_on(path) == [
        "does not say how its axes lie in the patient; taken as left, posterior, superior"
    ]
