from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest

from lunet_cli.config.options import PhantomOptions
from lunet_cli.engine.data.dicom import DicomSeries
from lunet_cli.engine.data.phantom_files import write_phantom
from lunet_cli.engine.inference.inputs import find_inputs
from lunet_cli.results.events import Event

ARRAY = np.zeros((4, 5, 6), np.int16)


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def names(
    inputs: list[Path], num_channels: int = 1, series: str | None = None
) -> dict[str, list[str]]:
    cases, failures = find_inputs(inputs, num_channels=num_channels, series=series)
    assert failures == []
    return {case.name: [source.name for source in case.images] for case in cases}


def failure(inputs: list[Path], series: str | None = None) -> tuple[str, str]:
    _, failures = find_inputs(inputs, num_channels=1, series=series)
    (found,) = failures
    return found.message, found.hint


def test_files_and_folders(tmp_path: Path) -> None:
    touch(
        tmp_path / "in/b.nii.gz",
        tmp_path / "in/a.mha",
        tmp_path / "in/notes.txt",
        tmp_path / "in/.hidden.nii",
    )
    assert names([tmp_path / "in"]) == {"a": ["a.mha"], "b": ["b.nii.gz"]}
    assert names([tmp_path / "in/b.nii.gz"]) == {"b": ["b.nii.gz"]}


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("a.nii.gz", ".nii.gz"),
        ("a.nii", ".nii"),
        ("a.nrrd", ".nrrd"),
        ("a.mha", ".mha"),
        ("a.mhd", ".mha"),
        ("a.nhdr", ".nrrd"),
        ("a.vtk", ".nii.gz"),
    ],
)
def test_format_of_the_output(tmp_path: Path, name: str, suffix: str) -> None:
    touch(tmp_path / name)
    (case,), _ = find_inputs([tmp_path / name], num_channels=1)
    assert case.suffix == suffix


def test_channels_come_together(tmp_path: Path) -> None:
    touch(*(tmp_path / f"{case}_000{channel}.nii.gz" for case in ("x", "y") for channel in (1, 0)))
    expected = {name: [f"{name}_0000.nii.gz", f"{name}_0001.nii.gz"] for name in ("x", "y")}
    assert names([tmp_path], num_channels=2) == expected
    assert names(sorted(tmp_path.iterdir()), num_channels=2) == expected


def test_a_single_channel_of_nnunet_loses_its_number_and_a_year_keeps_it(tmp_path: Path) -> None:
    touch(tmp_path / "x_0000.nii.gz", tmp_path / "scan_2023.nii.gz", tmp_path / "scan_2024.nii.gz")
    assert list(names([tmp_path])) == ["scan_2023", "scan_2024", "x"]


def test_channels_that_a_network_of_one_does_not_know_stay_apart(tmp_path: Path) -> None:
    touch(tmp_path / "x_0000.nii.gz", tmp_path / "x_0001.nii.gz")
    assert list(names([tmp_path])) == ["x_0000", "x_0001"]


def test_equal_names_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    files = [tmp_path / f"sub-{number}/T1.nii.gz" for number in (1, 2)]
    touch(*files)
    assert list(names(files)) == ["sub-1/T1", "sub-2/T1"]


def test_images_of_harp_without_its_label_maps(tmp_path: Path) -> None:
    touch(tmp_path / "ct_1.nrrd", tmp_path / "label_1.nrrd", tmp_path / "ct_2.nrrd")
    assert list(names([tmp_path])) == ["ct_1", "ct_2"]


def test_dicom_series(tmp_path: Path, write_series) -> None:
    series = write_series(tmp_path / "patient", ARRAY)
    (case,), _ = find_inputs([series], num_channels=1)
    assert (case.name, case.suffix) == ("patient", ".nii.gz")
    assert isinstance(case.images[0], DicomSeries)
    assert len(case.images[0].files) == 4


def test_folder_of_patients_at_any_depth(tmp_path: Path, write_series) -> None:
    write_series(tmp_path / "in/one/study/series", ARRAY)
    write_series(tmp_path / "in/two", ARRAY)
    cases, failures = find_inputs([tmp_path / "in"], num_channels=1)
    assert failures == []
    assert [case.name for case in cases] == ["one", "two"]


def test_several_series_are_listed_and_one_is_named(tmp_path: Path, write_series) -> None:
    folder = tmp_path / "patient"
    write_series(folder / "a", ARRAY, uid="1.2.3.4", number=3, description="T1 MPRAGE")
    write_series(folder / "b", ARRAY[:3], uid="1.2.3.5", number=7, description="FLAIR")
    message, hint = failure([tmp_path])
    assert f"{folder}: holds 2 DICOM series" in message
    assert (
        "number 3: 'T1 MPRAGE', CT, 4 files, UID 1.2.3.4; "
        "number 7: 'FLAIR', CT, 3 files, UID 1.2.3.5" in message
    )
    assert "`series`" in hint
    for wanted in ("7", "flair", "1.2.3.5", "5"):
        (case,), failures = find_inputs([tmp_path], num_channels=1, series=wanted)
        assert failures == []
        assert len(case.images[0].files) == 3
    message, _ = failure([tmp_path], series="T2")
    assert "no DICOM series is called 'T2'; there are number 3" in message


def test_several_series_in_one_folder(tmp_path: Path, write_series) -> None:
    write_series(tmp_path / "p", ARRAY, uid="1.2.3.4", number=1)
    write_series(tmp_path / "p", ARRAY, uid="1.2.3.5", number=2)
    message, _ = failure([tmp_path / "p"])
    assert "holds 2 DICOM series" in message
    (case,), _ = find_inputs([tmp_path / "p"], num_channels=1, series="2")
    assert case.images[0].uid == "1.2.3.5"


def test_what_cannot_be_used_is_told_and_the_rest_found(tmp_path: Path) -> None:
    touch(tmp_path / "a.nii.gz")
    (tmp_path / "empty").mkdir()
    touch(tmp_path / "nested/images/b.nii.gz")
    inputs = [tmp_path / name for name in ("missing.nii.gz", "empty", "nested", "a.nii.gz")]
    cases, failures = find_inputs(inputs, num_channels=1)
    assert [case.name for case in cases] == ["a"]
    messages = [found.message for found in failures]
    assert messages[0] == f"{tmp_path / 'missing.nii.gz'}: there is no such file or folder"
    assert messages[1] == f"{tmp_path / 'empty'}: holds no volume and no DICOM series"
    assert failures[2].hint == "Volumes lie in its sub-folder images."


def test_channels_are_sorted_and_complete(tmp_path: Path) -> None:
    files = [tmp_path / f"x_000{number}.nii.gz" for number in (0, 1, 3)]
    touch(*files)
    assert names([files[1], files[0]], num_channels=2) == {"x": ["x_0000.nii.gz", "x_0001.nii.gz"]}
    _, failures = find_inputs([files[0], files[2]], num_channels=2)
    assert "its case has the channels 0000, 0003" in failures[0].message


@pytest.mark.parametrize("num_channels", [1, 2])
def test_equal_names_in_one_folder_are_no_channels(num_channels: int, tmp_path: Path) -> None:
    touch(tmp_path / "a.nii.gz", tmp_path / "a.nrrd", tmp_path / "b.nrrd")
    cases, failures = find_inputs([tmp_path], num_channels=num_channels)
    assert [case.name for case in cases] == ["b"]
    assert "a.nrrd beside it has the same name" in failures[0].message


def test_a_file_that_is_named_twice_is_one_case(tmp_path: Path) -> None:
    touch(tmp_path / "a.nii.gz")
    assert names([tmp_path, tmp_path / "a.nii.gz"]) == {"a": ["a.nii.gz"]}


def test_what_only_looks_like_a_volume_is_told_and_the_rest_found(tmp_path: Path) -> None:
    touch(tmp_path / "a.nii.gz")
    os.mkfifo(tmp_path / "pipe.nii.gz")
    (tmp_path / "gone.nii").symlink_to("nowhere")
    (tmp_path / "round.mha").symlink_to(tmp_path / "round.mha")
    (tmp_path / "sub").symlink_to(tmp_path / "sub")
    cases, failures = find_inputs([tmp_path, tmp_path / "sub"], num_channels=1)
    assert [case.name for case in cases] == ["a"]
    told = {Path(found.case).name: found.message.split(": ", 1)[1] for found in failures}
    assert told == {
        "pipe.nii.gz": "is a pipe, not a file",
        "gone.nii": "is a link to nowhere, and there is no such file or folder",
        "round.mha": "cannot be read: too many levels of symbolic links",
        "sub": "cannot be read: too many levels of symbolic links",
    }


@pytest.mark.parametrize("place", ["two", "two/below"])
def test_a_folder_that_cannot_be_listed_does_not_end_the_search(
    place: str, tmp_path: Path, write_series, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two/below", "zero"):
        write_series(tmp_path / name, ARRAY)
    iterdir = Path.iterdir

    def refuse(path: Path) -> Iterator[Path]:
        if path == tmp_path / place:
            raise PermissionError(13, "Permission denied")
        return iterdir(path)

    monkeypatch.setattr(Path, "iterdir", refuse)
    cases, failures = find_inputs([tmp_path], num_channels=1)
    assert [case.name for case in cases] == ["one", "zero"]
    assert [found.message for found in failures] == [
        f"{tmp_path / place}: cannot be listed: permission denied"
    ]


def test_a_damaged_series_does_not_end_the_search(tmp_path: Path, write_series) -> None:
    write_series(tmp_path / "one", ARRAY)
    for path in write_series(tmp_path / "two", ARRAY).iterdir():
        path.write_bytes(path.read_bytes()[:140])
    cases, failures = find_inputs([tmp_path], num_channels=1)
    assert [case.name for case in cases] == ["one"]
    assert "cannot be read" in failures[0].message


def test_what_is_passed_over_is_told(tmp_path: Path) -> None:
    touch(tmp_path / "a.nii.gz", tmp_path / "old/b.nii.gz")
    events: list[Event] = []
    cases, _ = find_inputs([tmp_path], num_channels=1, on_event=events.append)
    assert [case.name for case in cases] == ["a"]
    assert "Volumes lie in its sub-folder old. They are left out" in str(events[0])


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Four subjects of BIDS with two contrasts and a label map each."""
    options = PhantomOptions(layout="bids", num_cases=4, num_channels=2, size=(16, 16, 16))
    write_phantom(tmp_path / "study", options)
    return tmp_path / "study"


def test_subjects_of_bids_are_cases_with_their_contrasts(study: Path) -> None:
    cases, failures = find_inputs([study], num_channels=2)
    assert not failures
    assert [case.name for case in cases] == [f"sub-{index:04d}" for index in range(4)]
    names = [Path(str(image)).name for image in cases[1].images]
    assert names == ["sub-0001_T1w.nii.gz", "sub-0001_T2w.nii.gz"]


def test_a_subject_without_a_contrast_is_told_and_the_others_are_used(study: Path) -> None:
    (study / "sub-0002/anat/sub-0002_T2w.nii.gz").unlink()
    cases, (failure,) = find_inputs([study], num_channels=2)
    assert len(cases) == 3
    assert "sub-0002 does not have all contrasts" in failure.message


def test_contrasts_that_a_network_does_not_take_are_not_guessed(study: Path) -> None:
    cases, (failure,) = find_inputs([study], num_channels=1)
    assert not cases
    assert "has T1w, T2w, and the network takes 1 channel" in failure.message
    assert "sub-*/anat/*_T1w.nii.gz" in failure.hint
    named = sorted(study.glob("sub-*/anat/*_T1w.nii.gz"))
    assert len(find_inputs(named, num_channels=1)[0]) == 4


def mark(folder: Path, **values: str) -> None:
    """Change attributes of all files of a series."""
    for path in folder.iterdir():
        dataset = pydicom.dcmread(path)
        for keyword, value in values.items():
            setattr(dataset, keyword, value)
        dataset.save_as(path)


def test_all_series_of_nested_exports(tmp_path: Path, write_series) -> None:
    study = tmp_path / "export/patient1/study"
    write_series(study / "a", ARRAY, uid="1.2.3.4", number=3, description="Thorax 1.5 mm")
    write_series(study / "b", ARRAY, uid="1.2.3.5", number=4)
    write_series(study / "c", ARRAY, uid="1.2.3.6", number=4)
    write_series(tmp_path / "export/patient2/x/y", ARRAY, uid="1.2.3.7", number=1)
    found = names([tmp_path / "export"], series="all")
    assert list(found) == ["3_Thorax_1_5_mm", "4_5", "4_6", "patient2"]
    write_series(tmp_path / "export/patient2/z", ARRAY, uid="1.2.3.8", number=3)
    mark(tmp_path / "export/patient2/z", SeriesDescription="Thorax 1.5 mm")
    assert "patient2/3_Thorax_1_5_mm" in names([tmp_path / "export"], series="all")


def test_scouts_pictures_and_results_are_no_scans(tmp_path: Path, write_series) -> None:
    for number, name in enumerate(("scan", "scout", "picture", "result"), start=1):
        write_series(tmp_path / f"p/{name}", ARRAY, uid=f"1.2.3.{number}", number=number)
        write_series(tmp_path / f"q/one/{name}", ARRAY, uid=f"1.2.4.{number}", number=number)
    for folder in (tmp_path / "p", tmp_path / "q/one"):
        mark(folder / "scout", ImageType="ORIGINAL\\PRIMARY\\LOCALIZER")
        mark(folder / "picture", SOPClassUID="1.2.840.10008.5.1.4.1.1.7.1")
        mark(folder / "result", Modality="SEG")
    # Below a patient's folder, the scan is the only one to choose.
    assert names([tmp_path / "q"]) == {"one": ["scan"]}
    assert names([tmp_path / "q"], series="all") == {"one": ["scan"]}
    assert names([tmp_path / "q"], series="2") == {"one": ["scout"]}, "asked for by number"
    events: list[Event] = []
    cases, failures = find_inputs([tmp_path / "p"], num_channels=1, on_event=events.append)
    assert ([case.name for case in cases], failures) == (["scan"], [])
    (warning,) = map(str, events)
    assert "scout: no scan (a scout, a picture, or a result), and left out" in warning
    (tmp_path / "p/scan").rename(tmp_path / "scan")
    assert len(names([tmp_path / "p"])) == 3, "a reader says why they cannot be used"


def test_a_series_in_several_folders_is_one(tmp_path: Path, write_series) -> None:
    folder = write_series(tmp_path / "in/patient/a", ARRAY)
    (tmp_path / "in/patient/b").mkdir()
    for path in sorted(folder.iterdir())[:2]:
        path.rename(tmp_path / "in/patient/b" / path.name)
    (case,), failures = find_inputs([tmp_path / "in"], num_channels=1)
    assert failures == []
    (series,) = case.images
    assert isinstance(series, DicomSeries)
    assert len(series.files) == 4
    assert (case.name, series.name) == ("patient", "patient")
