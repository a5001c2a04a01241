from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from lunet_cli.config.data import DataConfig
from lunet_cli.engine.data.cases import CaseSet
from lunet_cli.engine.data.layouts import find_cases, find_phantom_cases
from lunet_cli.engine.data.mistakes import Mistakes
from lunet_cli.errors import DataError

IMAGE = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
LABEL = (IMAGE > 50).astype(np.uint8)


def _describe(folder: Path, **values: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset.json").write_text(json.dumps(values))


def _ids(found: CaseSet) -> list[str]:
    return [case.case_id for case in found.cases]


def _files(found: CaseSet) -> list[tuple[list[str], str]]:
    root = found.root
    assert root is not None
    return [
        (
            [str(path.relative_to(root)) for path in case.images],
            str(case.label and case.label.relative_to(root)),
        )
        for case in found.cases
    ]


def _first_voxels(found: CaseSet, index: int) -> list[float]:
    """The brightest voxel of each channel of a case, to tell the channels apart."""
    channels, label = found.reader(found.cases[index])
    np.testing.assert_array_equal(sitk.GetArrayFromImage(label), LABEL)
    return [float(sitk.GetArrayFromImage(channel).max()) for channel in channels]


def _refusal(folder: Path, layout: str = "auto") -> DataError:
    with pytest.raises(DataError) as caught:
        find_cases(folder, layout)
    assert "\n" not in caught.value.message
    return caught.value


@pytest.fixture
def harp(tmp_path: Path, write_volume: Any) -> Path:
    for name in ("b 2", "a1"):
        write_volume(tmp_path / f"ct_{name}.nrrd", IMAGE)
        write_volume(tmp_path / f"label_{name}.nii.gz", LABEL)
    (tmp_path / "readme.txt").write_text("not a volume")
    return tmp_path


@pytest.fixture
def nnunet(tmp_path: Path, write_volume: Any) -> Path:
    for case in ("p_1", "p_2"):
        for channel in (0, 1):
            write_volume(tmp_path / "imagesTr" / f"{case}_{channel:04d}.nrrd", IMAGE + channel)
        write_volume(tmp_path / "labelsTr" / f"{case}.nrrd", LABEL)
    labels = {"background": 0, "whole": [1, 2], "core": 2, "ignore": 3}
    _describe(
        tmp_path,
        channel_names={"0": "T1", "1": "T2"},
        labels=labels,
        numTraining=2,
        file_ending=".nrrd",
    )
    return tmp_path


@pytest.mark.parametrize("layout", ["harp", "auto"])
def test_harp_pairs_by_name(layout: str, harp: Path) -> None:
    found = find_cases(harp, layout)
    assert found.layout == "harp"
    assert found.labels is None
    assert found.root == harp
    assert _ids(found) == ["a1", "b 2"]
    assert _files(found)[1] == (["ct_b 2.nrrd"], "label_b 2.nii.gz")
    assert _first_voxels(found, 0) == [59]


@pytest.mark.parametrize("layout", ["paired", "auto"])
def test_paired_groups_channels_and_takes_dicom_folders(
    layout: str, tmp_path: Path, write_volume: Any, write_series: Any
) -> None:
    for channel in (1, 0):
        write_volume(tmp_path / "images" / f"a_000{channel}.nii.gz", IMAGE + channel)
    write_series(tmp_path / "images" / "b", IMAGE + 2)
    write_volume(tmp_path / "images" / "scan_2020.mha", IMAGE + 3)
    (tmp_path / "images" / ".hidden.nii.gz").write_bytes(b"")
    for name in ("a", "b", "scan_2020"):
        write_volume(tmp_path / "labels" / f"{name}.nii.gz", LABEL)
    found = find_cases(tmp_path, layout)
    assert found.layout == "paired"
    assert _files(found) == [
        (["images/a_0000.nii.gz", "images/a_0001.nii.gz"], "labels/a.nii.gz"),
        (["images/b"], "labels/b.nii.gz"),
        (["images/scan_2020.mha"], "labels/scan_2020.nii.gz"),
    ]
    assert [_first_voxels(found, index) for index in range(3)] == [[59, 60], [61], [62]]


@pytest.mark.parametrize("layout", ["msd", "auto"])
def test_msd_reads_cases_labels_and_channels_from_dataset_json(
    layout: str, tmp_path: Path, write_volume: Any
) -> None:
    (tmp_path / "imagesTr").mkdir()
    channels = sitk.JoinSeries([sitk.GetImageFromArray(IMAGE + shift) for shift in (0, 5)])
    sitk.WriteImage(channels, str(tmp_path / "imagesTr" / "brain_2.nii.gz"))
    write_volume(tmp_path / "imagesTr" / "brain_9.nii.gz", IMAGE)  # not listed, so not a case
    write_volume(tmp_path / "labelsTr" / "brain_2.nii.gz", LABEL)
    entry = {"image": "./imagesTr/brain_2.nii.gz", "label": "./labelsTr/brain_2.nii.gz"}
    _describe(tmp_path, labels={"0": "background", "1": "oedema", "2": "core"}, training=[entry])
    found = find_cases(tmp_path, layout)
    assert found.layout == "msd"
    assert found.labels == {"oedema": (1,), "core": (2,)}
    assert _ids(found) == ["brain_2"]
    assert _first_voxels(found, 0) == [59, 64]


@pytest.mark.parametrize("layout", ["nnunet", "auto"])
def test_nnunet_groups_channels_and_reads_regions(layout: str, nnunet: Path) -> None:
    found = find_cases(nnunet, layout)
    assert found.layout == "nnunet"
    assert found.labels == {"whole": (1, 2), "core": (2,)}
    assert _files(found)[0] == (
        ["imagesTr/p_1_0000.nrrd", "imagesTr/p_1_0001.nrrd"],
        "labelsTr/p_1.nrrd",
    )
    assert _first_voxels(found, 1) == [59, 60]


def test_nnunet_takes_only_files_with_the_file_ending(nnunet: Path, write_volume: Any) -> None:
    write_volume(nnunet / "imagesTr" / "other_0000.nii.gz", IMAGE)
    assert _ids(find_cases(nnunet, "nnunet")) == ["p_1", "p_2"]


def test_phantom_has_as_many_cases_as_asked() -> None:
    found = find_phantom_cases(DataConfig.model_validate({"phantom": {"num_cases": 3, "size": 16}}))
    assert _ids(found) == ["phantom_0000", "phantom_0001", "phantom_0002"]
    assert found.labels == {"anterior": (1,), "posterior": (2,), "ventricle": (3,)}
    assert found.root is None


def test_missing_folder_suggests_a_close_name(tmp_path: Path) -> None:
    (tmp_path / "hippocampus").mkdir()
    error = _refusal(tmp_path / "hipocampus")
    assert error.message == f"{tmp_path / 'hipocampus'}: there is no such folder"
    assert error.hint == f"Did you mean {tmp_path / 'hippocampus'}?"


def test_file_in_place_of_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    assert _refusal(tmp_path / "data").message == f"{tmp_path / 'data'}: is a file, not a folder"


def test_folder_of_no_known_layout_lists_all_layouts(tmp_path: Path) -> None:
    error = _refusal(tmp_path)
    assert error.message == f"{tmp_path}: looks like none of the known layouts"
    assert all(f"{name}:" in error.hint for name in ("harp", "paired", "msd", "nnunet"))


def test_layout_without_cases_is_refused(tmp_path: Path) -> None:
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    assert _refusal(tmp_path).message == f"{tmp_path}: holds no case in the layout 'paired'"
    assert _refusal(tmp_path, "harp").message == f"{tmp_path}: holds no case in the layout 'harp'"
    _describe(tmp_path, training=[])
    assert _refusal(tmp_path).message == f"{tmp_path}: holds no case in the layout 'msd'"


@pytest.mark.parametrize(("layout", "missing"), [("paired", "labels"), ("nnunet", "labelsTr")])
def test_layout_without_its_label_folder_is_refused(
    layout: str, missing: str, tmp_path: Path
) -> None:
    for name in ("images", "imagesTr"):
        (tmp_path / name).mkdir()
    _describe(tmp_path)
    assert _refusal(tmp_path, layout).message == f"{tmp_path}: has no folder '{missing}'"


def test_harp_image_without_label_is_named(harp: Path) -> None:
    (harp / "label_a1.nii.gz").unlink()
    message = _refusal(harp).message
    assert (
        message
        == f"{harp / 'ct_a1.nrrd'}: this image has no label map, expected {harp / 'label_a1.*'}"
    )


def test_paired_image_without_label_is_named(tmp_path: Path, write_volume: Any) -> None:
    image = write_volume(tmp_path / "images" / "a.nrrd", IMAGE)
    write_volume(tmp_path / "labels" / "b.nrrd", LABEL)
    assert _refusal(tmp_path).message.startswith(f"{image}: this image has no label map, expected")


@pytest.mark.parametrize(
    ("present", "words"),
    [("image", "this image has no label map"), ("label", "there is no such file")],
)
def test_msd_entry_whose_file_is_missing_is_named(
    present: str, words: str, tmp_path: Path, write_volume: Any
) -> None:
    write_volume(tmp_path / f"{present}.nrrd", IMAGE)
    _describe(tmp_path, training=[{"image": "image.nrrd", "label": "label.nrrd"}])
    message = _refusal(tmp_path).message
    assert message.startswith(str(tmp_path / "image.nrrd"))
    assert words in message


def test_nnunet_image_without_label_is_named(nnunet: Path) -> None:
    (nnunet / "labelsTr" / "p_2.nrrd").unlink()
    message = _refusal(nnunet).message
    assert message.startswith(
        f"{nnunet / 'imagesTr' / 'p_2_0000.nrrd'}: this image has no label map"
    )
    assert message.endswith(str(nnunet / "labelsTr" / "p_2.nrrd"))


def test_nnunet_case_with_too_few_channels_is_named(nnunet: Path) -> None:
    (nnunet / "imagesTr" / "p_2_0001.nrrd").unlink()
    message = _refusal(nnunet).message
    assert str(nnunet / "imagesTr" / "p_2_0000.nrrd") in message
    assert "case p_2 has 1 channel file, dataset.json names 2 channels" in message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{broken", "not valid JSON"),
        ("[1, 2]", "expected an object"),
        ('{"training": 3}', "has no list 'training'"),
        ('{"training": [{"image": "a.nii.gz"}]}', "training[0] needs an 'image' and a 'label'"),
        ('{"training": ["a.nii.gz"]}', "training[0] needs an 'image' and a 'label'"),
        ('{"training": [], "labels": {"core": "two"}}', "cannot read the labels"),
    ],
)
def test_broken_dataset_json_is_named(content: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text(content)
    message = _refusal(tmp_path).message
    assert message.startswith(f"{tmp_path / 'dataset.json'}: ")
    assert words in message


def test_missing_dataset_json_is_named(tmp_path: Path) -> None:
    assert (
        _refusal(tmp_path, "msd").message == f"{tmp_path / 'dataset.json'}: there is no such file"
    )


# --- what new users have
# -----------------------------------------------------------------------------------------


def test_all_mistakes_of_a_folder_are_told_at_once(tmp_path: Path, write_volume: Any) -> None:
    for name in ("a", "b", "c", "d"):
        write_volume(tmp_path / "images" / f"{name}.nrrd", IMAGE)
    write_volume(tmp_path / "images" / "d.mha", IMAGE)
    write_volume(tmp_path / "images" / "e" / "scan.nii.gz", IMAGE)
    for name in ("a", "d"):
        write_volume(tmp_path / "labels" / f"{name}.nrrd", LABEL)
    mistakes = Mistakes()
    assert _ids(find_cases(tmp_path, "paired", mistakes)) == ["a", "d"]
    images, labels = tmp_path / "images", tmp_path / "labels"
    with pytest.raises(DataError) as caught:
        find_cases(tmp_path, "paired")
    assert caught.value.message.splitlines() == [
        f"{images / 'd.nrrd'}: d.mha beside it has the same name; keep one of them",
        f"{images / 'e'}: is a folder of volume files, where a file or a DICOM series was expected",
        f"{images / 'b.nrrd'}: this image has no label map, expected {labels / 'b.*'}",
        f"{images / 'c.nrrd'}: this image has no label map, expected {labels / 'c.*'}",
    ]
    assert "A label map has the name of its image." in caught.value.hint


def test_every_entry_of_a_list_of_cases_is_looked_at(tmp_path: Path, write_volume: Any) -> None:
    write_volume(tmp_path / "a.nrrd", IMAGE)
    entries = [
        {"image": "a.nrrd", "label": "none.nrrd"},
        "b",
        {"image": "gone.nrrd", "label": "a.nrrd"},
    ]
    _describe(tmp_path, training=entries)
    with pytest.raises(DataError) as caught:
        find_cases(tmp_path, "msd")
    words = caught.value.message
    assert len(words.splitlines()) == 3
    assert "training[1] needs an 'image'" in words
    assert f"{tmp_path / 'gone.nrrd'}: named in dataset.json" in words


def test_an_empty_label_folder_is_one_mistake(tmp_path: Path, write_volume: Any) -> None:
    for name in ("a", "b"):
        write_volume(tmp_path / "images" / f"{name}.nrrd", IMAGE)
    (tmp_path / "labels").mkdir()
    assert _refusal(tmp_path).message == f"{tmp_path / 'labels'}: holds no label map"


def test_the_dataset_json_of_another_program_does_not_hide_the_layout(
    tmp_path: Path, write_volume: Any
) -> None:
    write_volume(tmp_path / "images" / "a.nrrd", IMAGE)
    write_volume(tmp_path / "labels" / "a.nrrd", LABEL)
    _describe(tmp_path, images=[{"id": 1}], annotations=[])
    assert find_cases(tmp_path, "auto").layout == "paired"


def test_a_folder_around_the_data_set_leads_into_it(tmp_path: Path) -> None:
    (tmp_path / "Task04" / "images").mkdir(parents=True)
    error = _refusal(tmp_path)
    assert (error.message, error.hint) == (
        f"{tmp_path}: is not a data set itself",
        f"Did you mean {tmp_path / 'Task04'}?",
    )


def test_images_of_nnunet_without_its_description_are_recognised(tmp_path: Path) -> None:
    (tmp_path / "imagesTr").mkdir()
    assert _refusal(tmp_path).message == f"{tmp_path}: has a folder imagesTr, but no dataset.json"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path.write_text("[" * 100_000), "nested too deep"),
        (lambda path: path.symlink_to("/dev/zero"), "is not a file"),
        (lambda path: path.mkdir(), "looks like none"),
        (lambda path: path.write_text('{"training": ' + "9" * 5000 + "}"), "not valid JSON"),
        (lambda path: path.write_bytes(b"\xff\xfe{"), "not valid JSON"),
    ],
    ids=["deep", "device", "folder", "number", "encoding"],
)
def test_a_hostile_dataset_json_is_one_line(make: Any, words: str, tmp_path: Path) -> None:
    make(tmp_path / "dataset.json")
    assert words in _refusal(tmp_path, "msd" if words == "is not a file" else "auto").message


def test_names_with_spaces_and_umlauts_are_found(tmp_path: Path, write_volume: Any) -> None:
    folder = tmp_path / "Ünïcode mit Leerzeichen"
    write_volume(folder / "images" / "Fall ä 1.nrrd", IMAGE)
    write_volume(folder / "labels" / "Fall ä 1.nrrd", LABEL)
    found = find_cases(folder, "auto")
    assert _ids(found) == ["Fall ä 1"]
    assert _first_voxels(found, 0) == [59]
