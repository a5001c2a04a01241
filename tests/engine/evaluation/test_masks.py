from __future__ import annotations

import math

import numpy as np
import pytest

from lunet_cli.config.metrics import METRICS
from lunet_cli.engine.evaluation import overlap, surface
from lunet_cli.engine.evaluation.masks import score_label, score_masks

SPACING = (3.0, 1.0, 0.5)


def masks() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    prediction, reference = rng.random((2, 6, 7, 8)) < 0.4
    return prediction, reference


def test_all_metrics_are_those_of_the_single_functions() -> None:
    p, r = masks()
    found = score_masks(p, r, SPACING, tolerance_mm=0.7)
    assert found == {
        "dice": overlap.dice(p, r),
        "iou": overlap.iou(p, r),
        "sensitivity": overlap.sensitivity(p, r),
        "precision": overlap.precision(p, r),
        "relative_volume_difference": overlap.relative_volume_difference(p, r),
        "absolute_volume_difference": overlap.absolute_volume_difference_ml(p, r, SPACING),
        "hausdorff95": surface.hausdorff95(p, r, SPACING),
        "hausdorff": surface.hausdorff(p, r, SPACING),
        "assd": surface.assd(p, r, SPACING),
        "nsd": surface.nsd(p, r, SPACING, tolerance_mm=0.7),
    }
    assert list(found) == list(METRICS)


def test_only_what_is_asked_for_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surface.SurfaceDistances, "between", None)
    assert list(score_masks(*masks(), SPACING, metrics=["iou", "dice"])) == ["iou", "dice"]


def test_masks_of_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(1, 2, 3\), the reference \(3, 2, 1\)"):
        score_masks(np.ones((1, 2, 3), bool), np.ones((3, 2, 1), bool), SPACING)


def test_false_negative_structure_is_zero_in_overlap_and_undefined_in_mm() -> None:
    _, r = masks()
    found = score_masks(np.zeros_like(r), r, SPACING)
    assert [found[name] for name in ("dice", "iou", "sensitivity", "precision", "nsd")] == [0] * 5
    assert all(math.isnan(found[name]) for name in ("hausdorff95", "hausdorff", "assd"))
    assert found["relative_volume_difference"] == -1


def test_volumes_stand_beside_the_scores() -> None:
    p, r = masks()
    score = score_label("case", "label", p, r, SPACING, metrics=["dice"], tolerance_mm=1.0)
    assert score.prediction_ml == pytest.approx(p.sum() * 1.5 / 1000)
    assert score.reference_ml == pytest.approx(r.sum() * 1.5 / 1000)
