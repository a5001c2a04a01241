from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lunet_cli.config.options import PredictionOptions
from lunet_cli.engine.inference import predictor
from lunet_cli.engine.inference.load_model import as_predictor, load_model
from lunet_cli.errors import CheckpointError

FP32 = PredictionOptions(device="cpu", precision="fp32")
IMAGE = np.random.default_rng(0).integers(0, 200, (1, 9, 10, 11))


def test_a_loaded_model_loads_nothing_again(
    tmp_path: Path, make_threshold_model, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_threshold_model(tmp_path / "run/best_model.pt")
    model = load_model(str(tmp_path / "run"), options=FP32)
    (tmp_path / "run/best_model.pt").unlink()
    monkeypatch.setattr(predictor, "load_model", None)
    assert as_predictor(model) is model
    for _ in range(2):
        assert np.array_equal(model.predict(IMAGE).label_map, IMAGE[0] > 100.5)


def test_several_are_averaged(tmp_path: Path, make_threshold_model) -> None:
    paths = [
        make_threshold_model(tmp_path / f"{value}.pt", thresholds=(value,)) for value in (60, 101)
    ]
    found = load_model(paths, options=FP32).predict(IMAGE)
    # The mean of two steep sigmoids exceeds one half from the middle of their thresholds on.
    assert np.array_equal(found.label_map, IMAGE[0] > 80.5)


def test_what_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no such checkpoint"):
        as_predictor(tmp_path / "missing.pt")
