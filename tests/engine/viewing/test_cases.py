"""Cases beside what a network makes of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lunet_cli.engine.checkpoints.models import load_model
from lunet_cli.engine.inference.predictor import Predictor
from lunet_cli.engine.viewing.cases import CaseViews
from lunet_cli.errors import CheckpointError, ConfigError, DataError


@pytest.fixture
def data(tmp_path: Path, write_volume) -> Path:
    rng = np.random.default_rng(0)
    for index in range(10):
        image = rng.integers(0, 200, (8, 9, 10)).astype(np.int16)
        # Stored right to left: what is shown is turned.
        direction = (-1.0, 0, 0, 0, 1, 0, 0, 0, 1)
        write_volume(tmp_path / f"data/images/c{index}.nii.gz", image, direction=direction)
        write_volume(
            tmp_path / f"data/labels/c{index}.nii.gz",
            (image > 110).astype(np.uint8),
            direction=direction,
        )
    return tmp_path / "data"


def test_one_sigmoid_channel_shows_its_foreground(
    tmp_path: Path, data: Path, make_threshold_model
) -> None:
    model = make_threshold_model(
        tmp_path / "best_model.pt", thresholds=(110.5,), labels={"liver": (1,)}
    )
    views = CaseViews(Predictor.load([model]), data=data)
    shown = views.load("c3")
    assert shown.labels == ("liver",)
    assert shown.dice == {"liver": 1.0}
    assert shown.prediction is not None
    assert shown.reference is not None
    np.testing.assert_array_equal(shown.prediction, shown.image > 110)
    np.testing.assert_array_equal(shown.reference, shown.prediction)
    assert shown.prediction.any()


def test_exclusive_labels_keep_their_order(
    tmp_path: Path, data: Path, make_threshold_model
) -> None:
    model = make_threshold_model(
        tmp_path / "best_model.pt",
        thresholds=(50.5, 110.5),
        activation="softmax",
        labels={"low": (2,), "high": (1,)},
    )
    shown = CaseViews(Predictor.load([model]), data=data).load("c0")
    assert shown.prediction is not None
    np.testing.assert_array_equal(
        shown.prediction, (shown.image > 50).astype(int) + (shown.image > 110)
    )
    assert shown.dice["high"] == 1.0
    assert shown.dice["low"] == 0.0


def test_cases_that_are_not_there(
    tmp_path: Path, data: Path, make_threshold_model, trained_run: Path
) -> None:
    views = CaseViews(Predictor.load([trained_run]))
    with pytest.raises(
        ConfigError, match=r"`cases=phantom`: is none of the val cases of phantom\. Did you mean "
    ):
        views.load("phantom")
    model = make_threshold_model(tmp_path / "best_model.pt", labels={"liver": (1,)})
    many = CaseViews(Predictor.load([model]), data=data)
    with pytest.raises(ConfigError) as caught:
        many.require("c")
    assert "c7 and 2 more. Other cases: `split=all`" in caught.value.hint
    absent = make_threshold_model(
        tmp_path / "other.pt", config={"data": {"root": str(tmp_path / "moved")}}
    )
    with pytest.raises(DataError, match="moved"):
        CaseViews(Predictor.load([absent]))


def test_a_checkpoint_that_knows_no_data(tmp_path: Path, make_threshold_model) -> None:
    # So are those of the Lean Unet authors.
    model = replace(load_model(make_threshold_model(tmp_path / "best_model.pt")), config=None)
    with pytest.raises(CheckpointError, match="does not say what it was trained on") as caught:
        CaseViews(Predictor([model]))
    assert "`data=FOLDER`" in caught.value.hint
