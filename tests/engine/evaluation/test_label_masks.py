"""DICOM segmentations in `score`: as references and as predictions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lunet_cli.config.options import EvaluationOptions
from lunet_cli.engine.evaluation.score import score
from lunet_cli.results.evaluation import EvalResult
from lunet_cli.results.events import Event, WarningIssued

DICE = EvaluationOptions(metrics=("dice", "hausdorff95"))
SPACING = (0.7, 0.8, 2.5)
LABELS = np.zeros((8, 6, 7), np.uint8)
LABELS[2:5, 1:4, 1:5] = 1
LABELS[4:6, 4:6, 2:6] = 2
# The same without the plane at each end: Dice of 1 by hand, 2 * 12 / (36 + 12).
PREDICTED = LABELS.copy()
PREDICTED[[2, 3]] = 0


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory, write_series: Any) -> Path:
    return write_series(tmp_path_factory.mktemp("series"), LABELS, spacing=SPACING)


@pytest.fixture(scope="module")
def reference(series: Path, write_seg: Callable[..., Path]) -> Path:
    return write_seg(series, series.parent / "references/a.dcm", LABELS, "liver", "lump")


def values(result: EvalResult, metric: str = "dice") -> dict[str, float]:
    assert result.failures == ()
    return {one.label: one.values[metric] for one in result.scores}


def measured(predictions: Path, references: Path, tmp_path: Path, **options: Any) -> EvalResult:
    return score(predictions, references, output=tmp_path / "out", options=DICE, **options)


def test_label_maps_against_a_segmentation(
    reference: Path, tmp_path: Path, write_volume: Any
) -> None:
    write_volume(tmp_path / "masks/a.nii.gz", PREDICTED, spacing=SPACING)
    found = measured(tmp_path / "masks", reference.parent, tmp_path)
    assert values(found) == {"liver": pytest.approx(2 * 12 / (36 + 12)), "lump": 1.0}
    assert values(found, "hausdorff95")["liver"] == pytest.approx(5.0), "two planes of 2.5 mm"
    turned = write_volume(
        tmp_path / "turned.nii.gz",
        PREDICTED[:, ::-1],
        spacing=SPACING,
        origin=(0, 5 * 0.8, 0),
        direction=(1, 0, 0, 0, -1, 0, 0, 0, 1),
    )
    assert values(measured(turned, reference, tmp_path)) == values(found)


def test_segmentations_against_each_other_and_by_name(
    reference: Path, series: Path, tmp_path: Path, write_seg: Callable[..., Path]
) -> None:
    swapped = np.array([0, 2, 1], np.uint8)[PREDICTED]
    other = write_seg(series, tmp_path / "a.dcm", swapped, "lump", "liver")
    expected = {"liver": pytest.approx(0.5), "lump": 1.0}
    assert values(measured(other, reference, tmp_path)) == expected
    assert values(measured(reference, other, tmp_path)) == expected
    grouped = {"both": (1, 2), "liver": (1,), "lump": (2,)}
    found = values(measured(other, reference, tmp_path, labels=grouped))
    both = 2 * 28 / (52 + 28)
    assert found == {"both": pytest.approx(both), **expected}


def test_segments_of_predictions_alone_are_told(
    reference: Path, series: Path, tmp_path: Path, write_seg: Callable[..., Path]
) -> None:
    other = write_seg(series, tmp_path / "a.dcm", LABELS, "liver", "cyst")
    events: list[Event] = []
    found = measured(other, reference, tmp_path, on_event=events.append)
    assert values(found) == {"liver": 1.0, "lump": 0.0, "cyst": 0.0}
    (warning,) = [str(event) for event in events if isinstance(event, WarningIssued)]
    assert "the segments cyst occur in predictions only" in warning
    (failure,) = measured(other, reference, tmp_path, labels={"liver": (1,)}).failures
    assert "its segment cyst is none of the labels liver" in failure.message
    by_number = measured(other, reference, tmp_path, labels={"x": (1,), "y": (2,)})
    assert values(by_number) == {"x": 1.0, "y": 1.0}


def test_overlapping_segments_are_measured_each_for_itself(
    series: Path, tmp_path: Path, write_seg: Callable[..., Path]
) -> None:
    masks = np.stack([LABELS > 0, LABELS == 2], axis=-1).astype(np.uint8)
    one = write_seg(series, tmp_path / "one/a.dcm", masks, "whole", "core")
    masks[..., 1] = 0
    two = write_seg(series, tmp_path / "two/a.dcm", masks, "whole", "core")
    assert values(measured(two, one, tmp_path)) == {"whole": 1.0, "core": 0.0}


def test_another_series_is_refused(
    reference: Path, tmp_path: Path, write_volume: Any, write_series: Any, write_seg: Any
) -> None:
    shifted = write_volume(tmp_path / "a.nii.gz", LABELS, spacing=SPACING, origin=(0.3, 0, 0))
    (failure,) = measured(shifted, reference, tmp_path).failures
    assert "its voxels are not those of the other grid" in failure.message
    other = write_series(tmp_path / "other", LABELS, spacing=(0.7, 0.8, 2.0))
    seg = write_seg(other, tmp_path / "other.dcm", LABELS, "liver", "lump")
    (failure,) = measured(seg, reference, tmp_path).failures
    assert "its voxels are not those of the other grid" in failure.message
