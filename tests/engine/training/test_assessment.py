"""What is measured and drawn at the end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from lunet_cli.engine.training.train import train
from lunet_cli.results.views import Slice


def test_closing_measures_what_the_configuration_asks_for(runs: Any, tmp_path: Path) -> None:
    settings = (
        "training.epochs=1",
        "evaluation.metrics=[dice, hausdorff95]",
        "benchmark.enabled=true",
        "benchmark.timed_runs=2",
        "visualization.plot_slices=true",
        "visualization.num_samples=1",
        "visualization.slice_axis=sagittal",
    )
    result = train(runs.tiny(tmp_path, "closing", *settings))
    assert {row.metric for row in result.metrics} == {"hausdorff95"}
    assert [row.label for row in result.metrics] == [
        "anterior",
        "posterior",
        "ventricle",
        "mean of labels",
    ]
    assert result.latency_ms is not None
    assert result.latency_ms > 0
    assert result.slices[0].image.shape == (32, 32)
    assert result.slices[0].reference.max() >= 1
    summary = json.loads((result.run_dir / "training.json").read_text())
    assert summary["latency_ms"] == result.latency_ms


def test_pictures_are_turned_along_the_patient_whatever_the_network_sees(
    runs: Any, tmp_path: Path
) -> None:
    def pictures(orientation: str) -> tuple[Slice, ...]:
        more = [
            "training.epochs=1",
            f"preprocessing.orientation={orientation}",
            "visualization.plot_slices=true",
        ]
        return train(runs.tiny(tmp_path, f"in_{orientation}", *more)).slices

    (expected,) = pictures("LPS")
    for orientation in ("RAS", "SPL"):
        (found,) = pictures(orientation)
        np.testing.assert_allclose(found.image, expected.image, atol=1e-5)
        np.testing.assert_array_equal(found.reference, expected.reference)
        assert found.caption == expected.caption
    (unknown,) = pictures("null")
    assert unknown.sides is None
    assert "axis 0 slice" in unknown.caption
