from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lunet_cli.engine.checkpoints.models import load_model
from lunet_cli.engine.inference import labelled_cases
from lunet_cli.engine.inference.labelled_cases import select_cases
from lunet_cli.errors import CheckpointError, DataError


@pytest.fixture
def data(tmp_path: Path, write_volume) -> Path:
    for index in range(4):
        for folder in ("images", "labels"):
            write_volume(tmp_path / f"data/{folder}/c{index}.nii.gz", np.zeros((4, 4, 4), np.uint8))
    return tmp_path / "data"


def test_a_recorded_split_is_not_computed_again(
    tmp_path: Path, data: Path, make_threshold_model, write_manifest, monkeypatch
) -> None:
    model = load_model(make_threshold_model(tmp_path / "run/best_model.pt"))
    write_manifest(tmp_path / "run", train=("c1", "c2"), val=("c0",))
    (data / "splits.json").write_text(json.dumps([{"train": ["c0"], "val": ["c1"]}]))
    monkeypatch.setattr(labelled_cases, "load_cases", None)
    val = select_cases(model, data, "val")
    assert [case.case_id for case in val.cases] == ["c0"]
    assert (val.trained_on, val.origin) == ((), f"val cases of {data}")
    everything = select_cases(model, data, "all")
    assert len(everything.cases) == 4
    assert everything.trained_on == ("c1", "c2")


def test_without_a_record_the_data_set_divides(
    tmp_path: Path, data: Path, make_threshold_model
) -> None:
    model = load_model(make_threshold_model(tmp_path / "model.pt"))
    (data / "splits.json").write_text(json.dumps([{"train": ["c0", "c3"], "val": ["c1"]}]))
    train = select_cases(model, data, "train")
    assert [case.case_id for case in train.cases] == ["c0", "c3"]
    assert train.trained_on == ()


def test_data_that_have_moved_are_asked_for(tmp_path: Path, make_threshold_model) -> None:
    config = {"data": {"root": str(tmp_path / "gone")}}
    model = load_model(make_threshold_model(tmp_path / "model.pt", config=config))
    with pytest.raises(DataError, match="the data of the training are not there") as caught:
        select_cases(model, None, "val")
    assert caught.value.hint.endswith("`data=FOLDER` and `split=val`")


def test_a_checkpoint_of_the_authors_needs_data(tmp_path: Path, make_threshold_model) -> None:
    from dataclasses import replace

    model = replace(load_model(make_threshold_model(tmp_path / "model.pt")), config=None)
    with pytest.raises(CheckpointError, match="does not say what it was trained on"):
        select_cases(model, None, "val")
