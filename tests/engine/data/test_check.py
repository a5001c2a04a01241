"""Faults planted in copies of real cases, each of which the check finds, and nothing else."""

from __future__ import annotations

import gzip
import json
import shutil
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as sitk  # noqa: N813

from lunet_cli.config.load import load_config
from lunet_cli.engine.data.check import check_data
from lunet_cli.engine.data.mending import mend_data
from lunet_cli.errors import ConfigError, DataError, OutputError
from lunet_cli.records.check import DataCheck, DataMending

NUM_CASES = 24  # So many that one of them is an exception.


@dataclass
class Copy:
    """Real cases in a folder of their own, to be damaged."""

    root: Path
    names: list[str]

    def image(self, index: int) -> Path:
        return self.root / "imagesTr" / f"{self.names[index]}.nii.gz"

    def label(self, index: int) -> Path:
        return self.root / "labelsTr" / f"{self.names[index]}.nii.gz"

    def change(self, path: Path, change: Callable[[npt.NDArray[Any]], npt.NDArray[Any]]) -> None:
        """Rewrite the voxels of a file on its grid."""
        image = sitk.ReadImage(str(path))
        changed = sitk.GetImageFromArray(change(sitk.GetArrayFromImage(image)))
        changed.CopyInformation(image)
        sitk.WriteImage(changed, str(path))

    def move(self, path: Path, **geometry: Any) -> None:
        """Rewrite the header of a file."""
        image = sitk.ReadImage(str(path))
        for name, value in geometry.items():
            getattr(image, f"Set{name}")(value)
        sitk.WriteImage(image, str(path))

    def describe(self, change: Callable[[dict[str, Any]], None]) -> None:
        """Change `dataset.json`."""
        path = self.root / "dataset.json"
        values = json.loads(path.read_text())
        change(values)
        path.write_text(json.dumps(values))

    def divide(self, **lists: list[str]) -> None:
        (self.root / "splits.json").write_text(json.dumps([lists]))


@pytest.fixture
def copy(hippocampus: Path, tmp_path: Path) -> Copy:
    """The first cases of the real data, in its layout."""
    root = tmp_path / "data"
    values = json.loads((hippocampus / "dataset.json").read_text())
    values["training"] = values["training"][:NUM_CASES]
    names = []
    for entry in values["training"]:
        names.append(Path(entry["image"]).name.removesuffix(".nii.gz"))
        for side in ("image", "label"):
            (root / entry[side]).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(hippocampus / entry[side], root / entry[side])
    (root / "dataset.json").write_text(json.dumps(values))
    made = Copy(root, names)
    made.divide(train=names[2:], val=names[:2])
    return made


def _skewed(path: Path, shear: float) -> None:
    """Shear the sform of a NIfTI file, and leave it no qform."""
    content = bytearray(gzip.decompress(path.read_bytes()))
    struct.pack_into("<h", content, 252, 0)
    row = list(struct.unpack_from("<4f", content, 280))
    row[1] += shear * abs(row[0])
    struct.pack_into("<4f", content, 280, *row)
    path.write_bytes(gzip.compress(bytes(content)))


def _with_nan(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    changed = array.astype(np.float32)
    changed[3, 3, 3] = np.nan
    return changed


def _lacks_posterior(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.where(array == 2, 1, array).astype(np.uint8)


def _slab(copy: Copy) -> None:
    for path in (copy.image, copy.label):
        image = sitk.ReadImage(str(path(0)))
        sitk.WriteImage(image[:, :, 5:15], str(path(5)))


def _same_label(copy: Copy) -> None:
    grid = sitk.ReadImage(str(copy.image(0)))
    other = sitk.Add(grid, sitk.Cast(sitk.AdditiveGaussianNoise(grid, 5.0, 0.0), grid.GetPixelID()))
    sitk.WriteImage(other, str(copy.image(5)))
    shutil.copy(copy.label(0), copy.label(5))


def _second_channel(copy: Copy) -> None:
    image = sitk.ReadImage(str(copy.image(5)))
    sitk.WriteImage(sitk.JoinSeries([image, image]), str(copy.image(5)))


def _as_hu(copy: Copy) -> None:
    """All volumes in HU, but one that begins at 0."""
    copy.describe(lambda values: values.update(modality={"0": "CT"}))
    for index in range(NUM_CASES):
        low = 0 if index == 5 else -1000

        def shift(array: npt.NDArray[Any], low: int = low) -> npt.NDArray[Any]:
            changed = (array / array.max() * 1000).astype(np.int16) + np.int16(low)
            changed[0, 0, 0] = low
            return changed

        copy.change(copy.image(index), shift)


FAULTS: dict[str, tuple[Callable[[Copy], object], str]] = {
    "truncated": (
        lambda c: c.image(5).write_bytes(c.image(5).read_bytes()[:500]),
        "cannot be read",
    ),
    "empty file": (lambda c: c.image(5).write_bytes(b""), "cannot be read"),
    "no image": (lambda c: c.label(5).write_bytes(b"<html>not found</html>"), "cannot be read"),
    "no label": (lambda c: c.label(5).unlink(), "has no label map"),
    "image not there": (lambda c: c.image(5).unlink(), "there is no such file"),
    "flat": (
        lambda c: sitk.WriteImage(sitk.ReadImage(str(c.image(5)))[:, :, 3], str(c.image(5))),
        "expected a volume of three dimensions",
    ),
    "channels": (_second_channel, "number of image channels 2, of other cases 1"),
    "NaN": (lambda c: c.change(c.image(5), _with_nan), "are NaN or infinite"),
    "constant": (lambda c: c.change(c.image(5), lambda a: a * 0 + 7), "value 7 everywhere"),
    "empty label": (lambda c: c.change(c.label(5), lambda a: a * 0), "nothing is labelled"),
    "unexpected value": (lambda c: c.change(c.label(5), lambda a: a * 3), "label values 3, 6 not"),
    "missing value": (lambda c: c.change(c.label(5), _lacks_posterior), "Posterior is missing"),
    "fractions": (lambda c: c.change(c.label(5), lambda a: a * 0.7), "must be whole numbers"),
    "negative": (lambda c: c.change(c.label(5), lambda a: a.astype(np.int8) - 1), "found -1 to 1"),
    "origin": (lambda c: c.move(c.label(5), Origin=(3.0, 0.0, 0.0)), "origin (x, y, z) (3, 0, 0)"),
    "spacing": (lambda c: c.move(c.label(5), Spacing=(1.0, 1.0, 1.1)), "spacing (z, y, x) (1.1"),
    "direction": (
        lambda c: c.move(c.label(5), Direction=(1, 0, 0, 0, -1, 0, 0, 0, 1)),
        "direction (1, 0, 0, 0, -1",
    ),
    "size": (
        lambda c: sitk.WriteImage(sitk.ReadImage(str(c.label(5)))[:, :, 1:], str(c.label(5))),
        "size (z, y, x)",
    ),
    "shear": (lambda c: _skewed(c.image(5), 0.2), "axes are not at right angles"),
    "other spacing": (
        lambda c: [c.move(path(5), Spacing=(2.0, 2.0, 2.0)) for path in (c.image, c.label)],
        "voxels of 2, 2, 2 mm",
    ),
    "unit": (_as_hu, "channel 0: intensities from 0 on"),
    "same image": (
        lambda c: [shutil.copy(path(0), path(5)) for path in (c.image, c.label)],
        "has the same image as case",
    ),
    "slab": (_slab, "a part of the same scan; one trains and the other validates"),
    "same label": (_same_label, "has the label map of case"),
    "label of no case": (
        lambda c: c.describe(lambda values: values["labels"].update({"9": "Tail"})),
        "1 of 3 labels in no case: Tail",
    ),
    "unknown case": (
        lambda c: c.divide(train=["hippocampus_nowhere", *c.names[2:]], val=c.names[:2]),
        "are not in the data",
    ),
    "both sides": (lambda c: c.divide(train=c.names, val=c.names[:2]), "is in train and in val"),
    "stray": (lambda c: shutil.copy(c.image(5), c.root / "imagesTr" / "more.nii.gz"), "no case"),
}


def test_nothing_is_found_in_the_clean_copy(copy: Copy) -> None:
    found = check_data(copy.root)
    assert found.problems == ()
    assert (found.num_cases, found.layout) == (NUM_CASES, "msd")


@pytest.mark.parametrize("fault", FAULTS)
def test_each_planted_fault_is_found_and_no_other(copy: Copy, fault: str) -> None:
    plant, expected = FAULTS[fault]
    plant(copy)
    (problem,) = check_data(copy.root).problems
    assert expected in problem.text
    assert problem.hint or "expected" in problem.text or "no such file" in problem.text


def test_all_faults_together_are_told_at_once(copy: Copy) -> None:
    for index, fault in enumerate(("NaN", "negative", "no label", "constant"), start=3):
        names = copy.names
        copy.names = [*names[:5], names[index], *names[6:]]  # Faults are planted in number 5.
        FAULTS[fault][0](copy)
        copy.names = names
    found = check_data(copy.root)
    assert [problem.is_error for problem in found.problems] == [True, True, True, False]


def test_both_traps_of_the_real_data_are_named(hippocampus: Path) -> None:
    real_data = hippocampus.parent
    (copied,) = [one for one in check_data(real_data / "ct_total").problems if one.kind == "copy"]
    assert copied.case == "ctsm"
    assert "planes of case ct3mm" in copied.text
    pairs = {"y_reversed": ("ct", "ct"), "heart_other_grid": ("ct", "heart")}
    for folder, (image, label) in pairs.items():
        place = real_data / "pairs" / folder
        found = check_data(place / f"image_{image}.nii.gz", label=place / f"label_{label}.nii.gz")
        assert [problem.kind for problem in found.problems] == ["grid"]


def test_a_configuration_says_what_is_expected(copy: Copy) -> None:
    settings = [f"data.root={copy.root}", "labels.anterior=1", "data.split.file=splits.json"]
    found = check_data(load_config(None, settings))
    assert len(found.problems) == NUM_CASES
    assert {problem.kind for problem in found.problems} == {"labels"}
    FAULTS["other spacing"][0](copy)
    resampled = [f"data.root={copy.root}", "preprocessing.spacing_mm=[1, 1, 1]"]
    assert check_data(load_config(None, resampled)).problems == ()
    with pytest.raises(ConfigError):
        check_data(load_config(None, [*resampled, "data.split.fold=9", "data.split.num_folds=50"]))


def test_what_is_no_data_set_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere"):
        check_data(tmp_path / "nowhere")


def test_a_record_is_read_as_it_was_written(copy: Copy, tmp_path: Path) -> None:
    FAULTS["slab"][0](copy)
    found = check_data(copy.root)
    found.write(tmp_path / "check.json")
    assert DataCheck.read(tmp_path / "check.json") == found


MENDED: dict[str, Callable[[Copy], object]] = {
    "header": lambda c: c.move(c.label(5), Origin=(-0.7, -1.0, 1.0)),
    "shear": lambda c: [_skewed(path(5), 0.02) for path in (c.image, c.label)],
    "rounding": lambda c: c.change(c.label(5), lambda array: array * np.float32(1.0001)),
}


@pytest.mark.parametrize("fault", MENDED)
def test_what_is_safe_to_mend_is_mended_in_a_copy(copy: Copy, tmp_path: Path, fault: str) -> None:
    expected = sitk.GetArrayFromImage(sitk.ReadImage(str(copy.label(5))))
    MENDED[fault](copy)
    before = {path: path.read_bytes() for path in copy.root.rglob("*.*")}
    assert check_data(copy.root).problems
    mended = mend_data(copy.root, tmp_path / "out")
    assert mended.problems == ()
    assert {Path(change.file).parent.name for change in mended.changes} <= {"imagesTr", "labelsTr"}
    assert mended == DataMending.read(tmp_path / "out" / "mended.json")
    label = sitk.ReadImage(str(tmp_path / "out" / "labelsTr" / copy.label(5).name))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(label), expected)
    assert {path: path.read_bytes() for path in before} == before
    untouched = tmp_path / "out" / "imagesTr" / copy.image(3).name
    assert untouched.read_bytes() == copy.image(3).read_bytes()


def test_another_grid_is_resampled_only_if_asked_for(copy: Copy, tmp_path: Path) -> None:
    label = sitk.ReadImage(str(copy.label(5)))
    expected = sitk.GetArrayFromImage(label)
    sitk.WriteImage(label[:, ::-1, :], str(copy.label(5)))  # The same place, y reversed.
    left = mend_data(copy.root, tmp_path / "first")
    assert [problem.kind for problem in left.problems] == ["grid"]
    assert left.changes == ()
    mended = mend_data(copy.root, tmp_path / "second", resample=True)
    assert mended.problems == ()
    found = sitk.ReadImage(str(tmp_path / "second" / "labelsTr" / copy.label(5).name))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(found), expected)


def test_a_copy_goes_nowhere_near_the_data(copy: Copy, tmp_path: Path) -> None:
    for place in (copy.root, copy.root / "out", tmp_path):
        with pytest.raises(OutputError):
            mend_data(copy.root, place)
    assert not list(tmp_path.glob(".*"))
