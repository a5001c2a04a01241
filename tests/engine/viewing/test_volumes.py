"""Volumes read for looking at them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from lunet_cli.engine.viewing.volumes import read_volume
from lunet_cli.errors import ConfigError, DataError
from lunet_cli.render.volumes import described


def labels_of(array: np.ndarray) -> np.ndarray:
    labels = np.zeros(array.shape, np.uint8)
    labels[0, 0, 0] = 3
    labels[1] = 7
    return labels


def test_axes_run_along_the_patient_whatever_is_stored(tmp_path: Path, write_volume) -> None:
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    # Stored with x to the right and y to the front: both are turned.
    direction = (-1.0, 0, 0, 0, -1, 0, 0, 0, 1)
    path = write_volume(tmp_path / "a.nii.gz", array, spacing=(1, 2, 5), direction=direction)
    label = write_volume(
        tmp_path / "l.nii.gz", labels_of(array), spacing=(1, 2, 5), direction=direction
    )
    volume, facts = read_volume(path, label)
    np.testing.assert_array_equal(volume.image, array[:, ::-1, ::-1])
    assert volume.spacing_mm == (5, 2, 1)
    assert volume.labels == ("label 3", "label 7")
    assert volume.reference is not None
    assert volume.reference[0, -1, -1] == 1
    assert (volume.reference[1] == 2).all()
    assert facts.orientation == "RAS"
    assert facts.size == (4, 3, 2)
    assert facts.spacing_mm == (1, 2, 5)
    assert facts.number_type == "16-bit signed integer"
    assert facts.label_ml == {"label 3": pytest.approx(0.01), "label 7": pytest.approx(0.12)}
    assert facts.intensity["median"] == 11.5
    assert sum(facts.histogram) == 24
    assert len(facts.edges) == len(facts.histogram) + 1


def test_oblique_volumes_say_by_how_much(tmp_path: Path, write_volume) -> None:
    c, s = math.cos(math.radians(10)), math.sin(math.radians(10))
    path = write_volume(
        tmp_path / "a.nrrd", np.zeros((2, 3, 4), np.uint8), direction=(c, -s, 0, s, c, 0, 0, 0, 1)
    )
    _, facts = read_volume(path)
    assert facts.angle_degrees == pytest.approx(10, abs=0.01)


def test_labels_are_called_as_the_data_set_says(tmp_path: Path, write_volume) -> None:
    array = np.zeros((2, 3, 4), np.uint8)
    path = write_volume(tmp_path / "imagesTr/a_0000.nii.gz", array)
    label = write_volume(tmp_path / "labelsTr/a.nii.gz", labels_of(array))
    meta = {
        "labels": {"background": 0, "liver": 3, "spleen": 7},
        "channel_names": {"0": "CT"},
        "file_ending": ".nii.gz",
    }
    (tmp_path / "dataset.json").write_text(json.dumps({**meta, "numTraining": 1}), encoding="utf-8")
    assert read_volume(path, label)[0].labels == ("liver", "spleen")


def test_channels_are_chosen(tmp_path: Path, write_series) -> None:
    stack = sitk.JoinSeries(
        [sitk.GetImageFromArray(np.full((2, 3, 4), value, np.float32)) for value in (1, 2)]
    )
    sitk.WriteImage(stack, str(tmp_path / "four.nii.gz"))
    volume, facts = read_volume(tmp_path / "four.nii.gz", channel=1)
    assert (volume.image == 2).all()
    assert (facts.num_channels, facts.channel) == (2, 1)
    with pytest.raises(ConfigError, match=r"`channel=2`: .*has the channels 0 to 1"):
        read_volume(tmp_path / "four.nii.gz", channel=2)
    series = write_series(tmp_path / "dicom", np.arange(24).reshape(2, 3, 4))
    assert read_volume(series)[1].number_type == "16-bit signed integer"


def test_what_is_no_volume(tmp_path: Path, write_volume) -> None:
    image = write_volume(tmp_path / "image.nii.gz", np.zeros((2, 3, 4), np.uint8))
    flat = write_volume(
        tmp_path / "flat.nii.gz",
        np.zeros((3, 4), np.uint8),
        spacing=(1, 1),
        origin=(0, 0),
        direction=(1, 0, 0, 1),
    )
    with pytest.raises(DataError, match="expected a volume of three dimensions"):
        read_volume(flat)
    (tmp_path / "note.nii").write_text("no image", encoding="utf-8")
    with pytest.raises(DataError, match="it is not an image"):
        read_volume(tmp_path / "note.nii")
    (tmp_path / "empty.nrrd").write_bytes(b"")
    with pytest.raises(DataError, match="cannot be read"):
        read_volume(tmp_path / "empty.nrrd")
    shifted = write_volume(
        tmp_path / "shifted.nii.gz", np.ones((2, 3, 4), np.uint8), origin=(0, 0, 3)
    )
    with pytest.raises(DataError, match="does not lie on the grid"):
        read_volume(image, shifted)


def test_an_empty_label_map_is_told(tmp_path: Path, write_volume) -> None:
    image = write_volume(tmp_path / "image.nii.gz", np.ones((2, 3, 4), np.uint8))
    nothing = write_volume(tmp_path / "nothing.nii.gz", np.zeros((2, 3, 4), np.uint8))
    volume, facts = read_volume(image, nothing)
    assert volume.reference is not None
    assert not volume.reference.any()
    assert facts.label_ml == {}
    assert ("labels", "none: every voxel of the label map is 0") in described(facts)
    assert not any(name == "labels" for name, _ in described(read_volume(image)[1]))


def test_segmentations_are_shown_with_their_names(tmp_path: Path, write_series, write_seg) -> None:
    array = np.zeros((4, 5, 6), np.uint8)
    array[1:3, 2, 2:4] = 2
    series = write_series(tmp_path / "ct", array)
    seg = write_seg(series, tmp_path / "seg.dcm", array, "liver", "lump")
    volume, facts = read_volume(series, seg)
    assert volume.labels == ("lump",)
    assert volume.reference is not None
    assert (volume.reference > 0).sum() == 4
    assert facts.label_ml == {"lump": pytest.approx(0.004)}
