"""What a report about a run holds."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from lunet_cli.config.options import EvaluationOptions
from lunet_cli.engine.evaluation.evaluate import evaluate
from lunet_cli.engine.reporting.report import crop, gather_report, worst_first
from lunet_cli.errors import DataError
from lunet_cli.results.evaluation import CaseScore
from lunet_cli.results.events import Event, WarningIssued
from lunet_cli.results.views import LabeledVolume


def test_everything_about_a_run(trained_run: Path) -> None:
    events: list[Event] = []
    report = gather_report(trained_run, on_event=events.append)
    assert "of `evaluate()`" in str(events[0]), "what was measured is not measured again"
    assert len(report.history.records) == 6
    assert report.origin is not None
    assert report.origin.architecture == "lunet_small_4f"
    assert "architecture: lunet_small_4f" in report.config
    assert report.outcome == "finished"
    assert report.evaluation is not None
    assert [case.role for case in report.cases] == ["worst", "best"], (
        "of two cases, the median is the best"
    )
    order = worst_first(report.evaluation.scores)
    assert [case.volume.name for case in report.cases] == [order[0], order[-1]]
    assert report.warnings == ()


def test_results_of_another_checkpoint_do_not_count_whatever_the_times_of_the_files(
    trained_run: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(trained_run, tmp_path / "copy")
    for path in (run / "eval").rglob("*"):
        os.utime(path, (0, 0))
    events: list[Event] = []
    gather_report(run, on_event=events.append)
    assert "of `evaluate()`" in str(events[0]), "older files of the same checkpoint do"
    shutil.copy(run / "last.pt", run / "best_model.pt")
    table = run / "eval" / "val" / "metrics.csv"
    table.write_text("of another checkpoint", encoding="utf-8")
    report = gather_report(run)
    assert report.evaluation is not None
    assert report.evaluation.scores
    assert table.read_text(encoding="utf-8").startswith("case,label,dice")


def test_a_damaged_evaluation_is_measured_anew(trained_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(trained_run, tmp_path / "copy")
    (run / "eval" / "val" / "summary.json").unlink()
    report = gather_report(run)
    assert report.evaluation is not None
    assert report.warnings == ()


def test_results_are_shown_even_if_they_cannot_be_kept(trained_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(trained_run, tmp_path / "copy")
    shutil.rmtree(run / "eval")
    (run / "eval").write_text("in the way", encoding="utf-8")
    report = gather_report(run)
    assert report.evaluation is not None
    assert len(report.cases) == 2
    assert "the results could not be kept" in report.warnings[0]


def test_what_is_missing_is_told_and_the_rest_is_there(trained_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(trained_run, tmp_path / "copy")
    for name in ("best_model.pt", "last.pt"):
        (run / name).unlink()
    (run / "manifest.json").write_text("{", encoding="utf-8")
    events: list[Event] = []
    report = gather_report(run, on_event=events.append)
    assert report.evaluation is None
    assert report.cases == ()
    assert "there are no results of cases" in report.warnings[0]
    assert "holds no checkpoint" in report.warnings[0]
    assert "is not valid JSON" in report.warnings[1]
    assert sum(isinstance(event, WarningIssued) for event in events) == 2
    assert report.origin is None
    assert len(report.history.records) == 6


def test_data_that_are_named_must_be_there(trained_run: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="absent: there is no such folder"):
        gather_report(trained_run, data=tmp_path / "absent")


def test_a_folder_without_a_training(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no history\.csv"):
        gather_report(tmp_path)


def test_the_part_around_the_labels_keeps_its_place() -> None:
    image = np.arange(40 * 50 * 60, dtype=np.float32).reshape(40, 50, 60)
    reference = np.zeros(image.shape, np.uint8)
    reference[20, 25, 30] = 1
    prediction = np.zeros(image.shape, np.uint8)
    prediction[22, 25, 30] = 1
    volume = LabeledVolume("c", image, (5.0, 1.0, 3.0), ("a",), reference, prediction)
    part, first, steps = crop(volume)
    # 15 mm are 3, 15 and 5 voxels.
    assert first == (17, 10, 25)
    assert part.image.shape == (9, 31, 11)
    assert steps == (1, 1, 1)
    assert part.image[0, 0, 0] == image[first]
    assert part.reference is not None
    assert part.reference[3, 15, 5] == 1


@pytest.mark.parametrize(
    ("spacing_mm", "steps"),
    [((1.0, 1.0, 1.0), (3, 3, 2)), ((5.0, 0.5, 0.5), (1, 4, 4)), ((0.5, 1.0, 1.0), (4, 2, 2))],
)
def test_large_volumes_are_thinned_out_along_their_finest_axes(
    spacing_mm: tuple[float, float, float], steps: tuple[int, int, int]
) -> None:
    image = np.arange(200, dtype=np.int16)[:, None, None] + np.zeros((200, 200, 200), np.int16)
    part, first, found = crop(LabeledVolume("c", image, spacing_mm))
    assert part.image.size <= 600_000
    assert first == (0, 0, 0)
    assert sorted(found) == sorted(steps)
    assert part.spacing_mm == tuple(mm * step for mm, step in zip(spacing_mm, found, strict=True))
    assert part.image[1, 0, 0] == found[0], "whole voxels are left out, none is invented"


def test_cases_are_ordered_by_their_mean_dice() -> None:
    values = {"x": (0.9, 0.7), "y": (0.5, 0.6), "z": (0.75, 0.95)}
    scores = [
        CaseScore(case, label, {"dice": v}, 1, 1)
        for case, of in values.items()
        for label, v in zip("ab", of, strict=True)
    ]
    assert worst_first(scores) == ["y", "x", "z"]


def test_results_without_dice_are_measured_anew(trained_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(trained_run, tmp_path / "copy")
    evaluate(run, options=EvaluationOptions(metrics=("hausdorff95",)))
    report = gather_report(run)
    assert report.evaluation is not None
    assert "dice" in report.evaluation.scores[0].values


def test_cases_that_were_trained_on_are_told_also_of_stored_results(
    trained_run: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(trained_run, tmp_path / "copy")
    for _ in range(2):
        report = gather_report(run, split="all")
        assert len(report.warnings) == 1
        assert "10 cases were trained on" in report.warnings[0]
    assert gather_report(run, split="train").warnings == ()
