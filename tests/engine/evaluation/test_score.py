"""Label maps of any tool against references."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from lunet_cli.engine.evaluation.score import score
from lunet_cli.errors import DataError, OutputError
from lunet_cli.results.evaluation import MetricSummary
from lunet_cli.results.events import Event, Notice, WarningIssued


def test_what_is_replaced_is_told_and_files_of_others_are_not(tmp_path: Path, data: Path) -> None:
    events: list[Event] = []
    for _ in range(2):
        score(data / "labels", data / "labels", output=tmp_path / "out", on_event=events.append)
    told = [str(event) for event in events if isinstance(event, Notice)]
    assert len(told) == 1
    assert told[0].startswith("replaces the evaluation of 20")
    assert told[0].endswith(f" in {tmp_path / 'out'}")
    for name, content in (
        ("summary.json", '{"mean": {"Dice": 0.9}}'),
        ("metrics.csv", "id,dice\n"),
    ):
        foreign = tmp_path / name / name
        foreign.parent.mkdir()
        foreign.write_text(content)
        with pytest.raises(OutputError, match=f"{name}: is not of lunet, and is not overwritten"):
            score(data / "labels", data / "labels", output=foreign.parent)
        assert foreign.read_text() == content


def test_label_maps_of_any_tool(
    write: Callable[..., Path], find: Callable[..., MetricSummary], tmp_path: Path, data: Path
) -> None:
    predictions = tmp_path / "predictions"
    for index in range(4):
        label = sitk.GetArrayFromImage(sitk.ReadImage(str(data / f"labels/case{index}.nii.gz")))
        label[3] = 0
        write(predictions / f"case{index}.nrrd", label, (2.0, 1.0, 1.0))
    result = score(predictions, data / "labels")
    assert {score.label for score in result.scores} == {"1"}  # the only value that occurs
    assert find(result, "1", "precision").mean == 1
    assert result.scores[1].values["dice"] == pytest.approx(2 * 7 / 15)
    assert result.folder == predictions
    assert (predictions / "metrics.csv").is_file()
    (data / "dataset.json").write_text(json.dumps({"labels": {"0": "background", "1": "liver"}}))
    named = score(predictions, data / "labels", output=tmp_path / "out")
    assert {score.label for score in named.scores} == {"liver"}
    region = score(predictions, data / "labels", output=tmp_path / "out", labels={"any": (1, 2)})
    assert {score.label for score in region.scores} == {"any"}
    single = score(
        predictions / "case1.nrrd", data / "labels/case0.nii.gz", output=tmp_path / "out"
    )
    assert [score.case for score in single.scores] == ["case0"]


def test_names_may_differ_by_what_marks_images_and_labels(
    write: Callable[..., Path], tmp_path: Path
) -> None:
    array = np.ones((3, 3, 3), np.uint8)
    write(tmp_path / "p/ct_7.nii.gz", array)
    write(tmp_path / "r/label_7.nii.gz", array)
    assert [score.case for score in score(tmp_path / "p", tmp_path / "r").scores] == ["7"]


def test_missing_surplus_and_misplaced_predictions(
    write: Callable[..., Path], tmp_path: Path, data: Path
) -> None:
    predictions = tmp_path / "predictions"
    predictions.mkdir()
    with pytest.raises(DataError, match="holds no label map"):
        score(predictions, data / "labels")
    shutil.copy(data / "labels/case1.nii.gz", predictions / "case9.nii.gz")
    with pytest.raises(DataError, match="no label map is called like one of"):
        score(predictions, data / "labels")
    shutil.copy(data / "labels/case1.nii.gz", predictions / "case1.nii.gz")
    write(predictions / "case2.nii.gz", np.ones((12, 10, 8), np.uint8), (1.0, 1.0, 9.0))
    events: list[Event] = []
    result = score(predictions, data / "labels", on_event=events.append)
    assert [score.case for score in result.scores] == ["case1"]
    assert next(failure.message for failure in result.failures).endswith(
        "2 of 4 references without a prediction, such as case0"
    )
    assert "does not lie on the grid of" in result.failures[1].message
    assert "1 prediction has no reference and is left out" in str(
        next(event for event in events if isinstance(event, WarningIssued))
    )
    quiet = score(predictions, data / "labels", only_predicted=True)
    assert len(quiet.failures) == 1


@pytest.mark.real_data
def test_forty_real_cases_are_measured_within_seconds(
    find: Callable[..., MetricSummary], tmp_path: Path, hippocampus: Path
) -> None:
    """References against themselves, moved by a voxel: all metrics of 40 cases and two labels."""
    names = json.loads((hippocampus / "splits.json").read_text())
    entry = names[0] if isinstance(names, list) else names
    for name in entry["val"]:
        image = sitk.ReadImage(str(hippocampus / f"labelsTr/{name}.nii.gz"))
        moved = sitk.GetImageFromArray(np.roll(sitk.GetArrayFromImage(image), 1, axis=0))
        moved.CopyInformation(image)
        (tmp_path / "p").mkdir(exist_ok=True)
        sitk.WriteImage(moved, str(tmp_path / f"p/{name}.nii.gz"))
    result = score(tmp_path / "p", hippocampus / "labelsTr", only_predicted=True)
    assert len(result.scores) == 80
    assert {score.label for score in result.scores} == {"Anterior", "Posterior"}
    assert all(0 < score.values["dice"] < 1 for score in result.scores)
    assert all(score.values["hausdorff"] >= 1 for score in result.scores)
    assert find(result, "mean of labels", "assd").mean < 1


def test_false_positive_labels_are_measured(write: Callable[..., Path], tmp_path: Path) -> None:
    reference = np.zeros((4, 4, 4), np.uint8)
    reference[1] = 1
    prediction = reference.copy()
    prediction[3, 0, 0] = 2
    write(tmp_path / "p/a.nii.gz", prediction)
    write(tmp_path / "r/a.nii.gz", reference)
    result = score(tmp_path / "p", tmp_path / "r")
    assert {score.label: score.values["dice"] for score in result.scores} == {"1": 1, "2": 0}
