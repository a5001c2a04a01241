from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from lunet_cli.engine.data.packing import PlaneFile
from lunet_cli.engine.data.volume import Geometry
from lunet_cli.engine.data.writing import PARTIAL, remove_partial_folder, write_volume
from lunet_cli.errors import DataError

ARRAY = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
GEOMETRY = Geometry(
    size=(2, 3, 4),
    spacing_mm=(2.5, 0.8, 0.7),
    origin_mm=(-10.0, 20.0, 30.0),
    direction=(0.0, -1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0),
)


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nrrd", "größe.mha"])
def test_values_and_geometry_are_kept(name: str, tmp_path: Path) -> None:
    write_volume(ARRAY, GEOMETRY, tmp_path / name)
    # Under a name in ASCII, since ITK itself cannot open every other one.
    stored = sitk.ReadImage(str((tmp_path / name).rename(tmp_path / f"b{name[name.index('.') :]}")))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(stored), ARRAY)
    assert Geometry.of(stored).differences(GEOMETRY) == []


def test_what_was_not_written_whole_does_not_appear(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.nrrd").write_text("an older result")

    def write_less(file: PlaneFile, planes: np.ndarray) -> None:
        write(file, planes * 0)

    write = PlaneFile.write
    monkeypatch.setattr(PlaneFile, "write", write_less)
    with pytest.raises(DataError, match=r"a\.nrrd: cannot be written \(what was written differs"):
        write_volume(ARRAY, GEOMETRY, tmp_path / "a.nrrd")
    assert (tmp_path / "a.nrrd").read_text() == "an older result"
    assert list((tmp_path / PARTIAL).iterdir()) == []


def test_folder_of_unfinished_files_goes_when_it_is_empty(tmp_path: Path) -> None:
    write_volume(ARRAY, GEOMETRY, tmp_path / "a.nrrd")
    (tmp_path / PARTIAL / "b.nrrd").touch()
    remove_partial_folder(tmp_path)
    assert (tmp_path / PARTIAL / "b.nrrd").exists()
    (tmp_path / PARTIAL / "b.nrrd").unlink()
    remove_partial_folder(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a.nrrd"]
    remove_partial_folder(tmp_path)
