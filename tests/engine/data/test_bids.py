"""The layout of BIDS, as data sets have it and not as one would wish."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lunet_cli.config.data import DataConfig, SplitConfig
from lunet_cli.config.options import PhantomOptions
from lunet_cli.engine.data.check import check_data
from lunet_cli.engine.data.layouts import find_cases
from lunet_cli.engine.data.phantom_files import write_phantom
from lunet_cli.engine.data.splits import load_cases
from lunet_cli.errors import DataError

LABELS = {"anterior": (1,), "posterior": (2,), "ventricle": (3,)}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Four subjects with two contrasts and a label map each."""
    root = tmp_path / "data"
    options = PhantomOptions(layout="bids", num_cases=4, num_channels=2, size=(16, 16, 16))
    write_phantom(root, options)
    return root


def _label(data: Path, subject: int) -> Path:
    name = f"sub-{subject:04d}"
    return data / "derivatives" / "manual" / name / "anat" / f"{name}_dseg.nii.gz"


def _image(data: Path, subject: int, contrast: str = "T1w") -> Path:
    name = f"sub-{subject:04d}"
    return data / name / "anat" / f"{name}_{contrast}.nii.gz"


def _into_session(data: Path, subject: int, session: str) -> None:
    """Copy a subject's files into a session of its own."""
    for path in (_label(data, subject), *(_image(data, subject, f"T{n}w") for n in (1, 2))):
        folder = path.parent.parent / f"ses-{session}" / "anat"
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / path.name.replace("_", f"_ses-{session}_", 1))


def test_subjects_are_found_with_their_contrasts_and_labels(data: Path) -> None:
    found = find_cases(data, "auto")
    assert found.layout == "bids"
    assert found.labels == LABELS
    assert [case.case_id for case in found.cases] == [f"sub-{n:04d}" for n in range(4)]
    assert found.cases[1].images == (_image(data, 1), _image(data, 1, "T2w"))
    assert found.cases[1].label == _label(data, 1)
    assert found.remarks == ()
    assert check_data(data).problems == ()
    from_derivative = find_cases(data / "derivatives" / "manual", "auto")
    assert [case.label for case in from_derivative.cases] == [case.label for case in found.cases]


def test_sessions_of_a_subject_stay_on_one_side(data: Path) -> None:
    for subject in range(4):
        for session in ("a", "b"):
            _into_session(data, subject, session)
        for path in (_label(data, subject), _image(data, subject)):
            shutil.rmtree(path.parent)
    for fold in range(4):
        config = DataConfig(root=data, split=SplitConfig(fold=fold, num_folds=4))
        _, split = load_cases(config, seed=0)
        assert len(split.val) == 2
        assert len({case.case_id.split("_")[0] for case in split.val}) == 1
    assert find_cases(data, "bids").cases[0].case_id == "sub-0000_ses-a"


def test_subjects_without_labels_are_counted_and_left_out(data: Path) -> None:
    _label(data, 2).unlink()
    found = find_cases(data, "auto")
    assert len(found.cases) == 3
    (problem,) = check_data(data).problems
    assert not problem.is_error
    assert "3 of 4 sessions have a label map" in problem.text


def test_only_contrasts_that_all_have_are_channels(data: Path) -> None:
    _image(data, 2, "T2w").unlink()
    found = find_cases(data, "auto")
    assert {len(case.images) for case in found.cases} == {1}
    assert found.remarks == (f"{data}: not every case has a single T2w; only T1w used",)


def test_an_image_is_the_one_whose_entities_its_label_has(data: Path) -> None:
    for run in "12":
        copy = _image(data, 0).with_name(f"sub-0000_run-{run}_T1w.nii.gz")
        shutil.copy(_image(data, 0), copy)
    _image(data, 0).unlink()
    label = _label(data, 0)
    label.rename(label.with_name("sub-0000_run-2_space-orig_dseg.nii.gz"))
    assert find_cases(data, "auto").cases[0].images[0].name == "sub-0000_run-2_T1w.nii.gz"


def _two_maps(data: Path) -> None:
    shutil.copytree(data / "derivatives" / "manual", data / "derivatives" / "other")


def _two_images(data: Path) -> None:
    shutil.copy(_image(data, 0), _image(data, 0).with_name("sub-0000_desc-x_T1w.nii.gz"))
    label = _label(data, 0)
    label.rename(label.with_name("sub-0000_desc-x_dseg.nii.gz"))


def _no_map(data: Path) -> None:
    for subject in range(4):
        _label(data, subject).unlink()


def _no_contrast_in_common(data: Path) -> None:
    for subject in range(4):
        _image(data, subject, "T1w" if subject < 2 else "T2w").unlink()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_two_maps, "has several label maps"),
        (_two_images, "may be the image of the label map too"),
        (lambda data: shutil.rmtree(data / "sub-0001"), "there is no image of it"),
        (_no_contrast_in_common, "no contrast in common"),
        (
            lambda data: (data / "derivatives/manual/dseg.tsv").write_text("number\tlabel\n1\ta\n"),
            "is not a table of labels",
        ),
        (_no_map, "holds no case"),
    ],
)
def test_what_does_not_fit_is_told(
    data: Path, damage: Callable[[Path], object], words: str
) -> None:
    damage(data)
    with pytest.raises(DataError, match=words):
        find_cases(data, "auto")


def test_a_mask_counts_where_there_is_no_map(data: Path) -> None:
    label = _label(data, 0)
    shutil.copy(label, label.with_name("sub-0000_desc-brain_mask.nii.gz"))
    assert find_cases(data, "auto").cases[0].label == label
    label.unlink()
    found = find_cases(data, "auto").cases[0].label
    assert found is not None
    assert found.name == "sub-0000_desc-brain_mask.nii.gz"


def test_runs_are_cases_of_their_own(data: Path) -> None:
    for run in "12":
        for path in (_image(data, 0), _image(data, 0, "T2w"), _label(data, 0)):
            shutil.copy(path, path.with_name(path.name.replace("_", f"_run-{run}_", 1)))
    for path in (_image(data, 0), _image(data, 0, "T2w"), _label(data, 0)):
        path.unlink()
    first, second, *_ = find_cases(data, "auto").cases
    assert (first.case_id, second.case_id) == ("sub-0000_run-1", "sub-0000_run-2")
    assert [path.name for path in second.images] == [
        "sub-0000_run-2_T1w.nii.gz",
        "sub-0000_run-2_T2w.nii.gz",
    ]
    _, split = load_cases(DataConfig(root=data, split=SplitConfig(fold=0, num_folds=4)), seed=0)
    train = {case.case_id.split("_")[0] for case in split.train}
    assert train.isdisjoint(case.case_id.split("_")[0] for case in split.val)


def _as_fmriprep(data: Path) -> Path:
    """Let the derivative have maps of both spaces, tables of other maps, and images of its own."""
    derivative = data / "derivatives" / "manual"
    for subject in range(4):
        label = _label(data, subject)
        name = f"sub-{subject:04d}"
        shutil.copy(_image(data, subject), label.with_name(f"{name}_desc-preproc_T1w.nii.gz"))
        for kind in ("space-MNI152_dseg", "desc-brain_mask", "label-GM_probseg"):
            shutil.copy(label, label.with_name(f"{name}_{kind}.nii.gz"))
        template = label.with_name(f"{name}_space-MNI152_desc-preproc_T1w.nii.gz")
        shutil.copy(_image(data, subject, "T2w"), template)
    (derivative / "desc-aseg_dseg.tsv").write_text("index\tname\n17\tHippocampus\n")
    return derivative


def test_maps_as_they_were_scanned_come_before_those_of_a_template(data: Path) -> None:
    derivative = _as_fmriprep(data)
    found = find_cases(data, "auto")
    assert found.cases[0].label == _label(data, 0)
    assert [path.name for path in found.cases[0].images] == ["sub-0000_desc-preproc_T1w.nii.gz"]
    assert found.labels == LABELS
    for subject in range(4):
        _label(data, subject).unlink()
    (only,) = {path.name for path in find_cases(derivative, "auto").cases[1].images}
    assert only == "sub-0001_desc-preproc_T1w.nii.gz"
    for subject in range(4):
        _label(data, subject).with_name(f"sub-{subject:04d}_desc-brain_mask.nii.gz").unlink()
    case = find_cases(data, "auto").cases[1]
    assert case.label is not None
    assert case.label.name == "sub-0001_space-MNI152_dseg.nii.gz"
    assert case.images[0].name == "sub-0001_space-MNI152_desc-preproc_T1w.nii.gz"


def test_a_mask_is_called_by_its_label(data: Path) -> None:
    for subject in range(4):
        label = _label(data, subject)
        label.rename(label.with_name(f"sub-{subject:04d}_label-lesion_mask.nii.gz"))
    assert find_cases(data, "auto").labels == {"lesion": (1,)}


def test_what_lies_beside_images_is_no_contrast(data: Path) -> None:
    for subject in range(4):
        image = _image(data, subject)
        shutil.copy(image, image.with_name(f"sub-{subject:04d}_mod-T1w_defacemask.nii.gz"))
        for echo in "12":
            shutil.copy(image, image.with_name(f"sub-{subject:04d}_echo-{echo}_MEGRE.nii.gz"))
    found = find_cases(data, "auto")
    assert [path.name for path in found.cases[0].images] == [
        "sub-0000_T1w.nii.gz",
        "sub-0000_T2w.nii.gz",
    ]
    assert "not every case has a single MEGRE" in found.remarks[0]


def test_maps_of_two_derivatives_are_not_chosen_between(data: Path) -> None:
    for subject in range(4):
        name = f"sub-{subject:04d}"
        lesion = (
            data / "derivatives" / "lesions" / name / "anat" / f"{name}_label-lesion_mask.nii.gz"
        )
        lesion.parent.mkdir(parents=True)
        shutil.copy(_label(data, subject), lesion)
    with pytest.raises(DataError, match="has several label maps") as caught:
        find_cases(data, "auto")
    assert "name the folder of one of the derivatives" in caught.value.hint
    assert find_cases(data / "derivatives" / "lesions", "auto").labels == {"lesion": (1,)}
