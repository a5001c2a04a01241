"""What a report about a run holds."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from lunet_cli.engine.reporting.report import crop, gather_report, worst_first
from lunet_cli.errors import DataError
from lunet_cli.results.evaluation import CaseScore
from lunet_cli.results.events import Caution, Event
from lunet_cli.results.views import LabeledVolume


def test_everything_about_a_run(trained_run: Path) -> None:
    events: list[Event] = []
    report = gather_report(trained_run, on_event=events.append)
    assert "lunet eval" in str(events[0]), "what was measured is not measured again"
    assert len(report.course.records) == 6
    assert report.manifest["architecture"] == "lunet_small_4f"
    assert "architecture: lunet_small_4f" in report.config
    assert report.outcome["outcome"] == "finished"
    assert report.evaluation is not None
    assert [case.role for case in report.cases] == ["worst", "best"], "of two cases, the median is the best"
    order = worst_first(report.evaluation.scores)
    assert [case.volume.name for case in report.cases] == [order[0], order[-1]]
    assert report.cautions == ()
    assert ("measure it", f"lunet eval {trained_run}") in report.commands


def test_cases_are_measured_anew_for_a_newer_checkpoint(trained_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(trained_run, tmp_path / "copy")
    table = run / "eval" / "val" / "metrics.csv"
    table.write_text("out of date", encoding="utf-8")
    newer = table.stat().st_mtime + 1
    os.utime(run / "best_model.pt", (newer, newer))
    report = gather_report(run)
    assert report.evaluation is not None
    assert report.evaluation.scores
    assert table.read_text(encoding="utf-8").startswith("case,label,dice")


def test_without_data_the_rest_is_still_told(trained_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(trained_run, tmp_path / "copy")
    shutil.rmtree(run / "eval")
    events: list[Event] = []
    report = gather_report(run, data=tmp_path / "moved", on_event=events.append)
    assert report.evaluation is None
    assert report.cases == ()
    assert "there are no results of cases" in report.cautions[0]
    assert any(isinstance(event, Caution) and "moved" in str(event) for event in events)
    (run / "best_model.pt").unlink()
    (run / "last.pt").unlink()
    assert "holds no checkpoint" in gather_report(run).cautions[0]


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
    part, first, step = crop(volume)
    # 15 mm are 3, 15 and 5 voxels.
    assert first == (17, 10, 25)
    assert part.image.shape == (9, 31, 11)
    assert step == 1
    assert part.image[0, 0, 0] == image[first]
    assert part.reference is not None
    assert part.reference[3, 15, 5] == 1


def test_large_volumes_are_thinned_out() -> None:
    volume = LabeledVolume("c", np.zeros((200, 200, 200), np.int16), (1.0, 1.0, 1.0))
    part, first, step = crop(volume)
    assert part.image.size <= 600_000
    assert first == (0, 0, 0)
    assert part.spacing_mm == (float(step),) * 3
    assert step == 3


def test_cases_are_ordered_by_what_was_measured() -> None:
    def scores(metric: str, values: dict[str, float]) -> list[CaseScore]:
        return [CaseScore(case, "a", {metric: value}, 1, 1) for case, value in values.items()]

    assert worst_first(scores("dice", {"x": 0.9, "y": 0.1, "z": 0.5})) == ["y", "z", "x"]
    assert worst_first(scores("hausdorff95", {"x": 3, "y": float("nan"), "z": 9})) == ["y", "z", "x"]
