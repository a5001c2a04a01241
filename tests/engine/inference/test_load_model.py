from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from lunet_cli.config.options import BenchOptions, ExportOptions, PredictionOptions
from lunet_cli.engine.benchmarking.plan import plan_rows
from lunet_cli.engine.exporting.export import export
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


def test_a_run_without_its_best_model_says_what_stands_in(
    trained_run: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(trained_run, tmp_path / "run"))
    assert load_model(run).warnings() == []
    (run / "best_model.pt").unlink()
    said = f"{run}: has no best_model.pt, so this is its last.pt, the newest state of its training"
    assert said in load_model(run).warnings()
    # Whoever names the file knows.
    assert load_model(run / "last.pt").warnings() == []
    told: list[str] = []
    export(
        run,
        ExportOptions(format="torch-export", output=tmp_path / "net.pt2"),
        on_event=lambda event: told.append(str(event)),
    )
    assert any(said in text for text in told)
    _, remarks = plan_rows(BenchOptions(targets=(run,)))
    assert [said in str(remark) for remark in remarks] == [True]
