from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from lunet_cli.engine.data.cases import Case, read_case_files
from lunet_cli.errors import DataError

IMAGE = np.arange(24, dtype=np.int16).reshape(2, 3, 4)


def test_channels_and_label_are_read_with_their_remarks(tmp_path: Path, write_volume: Any) -> None:
    images = (write_volume(tmp_path / "a.nrrd", IMAGE), write_volume(tmp_path / "b.nrrd", -IMAGE))
    label = write_volume(tmp_path / "l.mha", (IMAGE > 5).astype(np.uint8))
    label.write_bytes(label.read_bytes().replace(b"ElementSpacing", b"ElementSpacinG"))
    remarks: list[str] = []
    channels, found = read_case_files(Case("a", images, label), remarks.append)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(channels[0]), IMAGE)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(channels[1]), -IMAGE)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(found), IMAGE > 5)
    assert [remark.split(":")[0] for remark in remarks] == [str(label)]


def test_case_without_a_label_map_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="case a has no label map"):
        read_case_files(Case("a", (tmp_path / "a.nrrd",)))
