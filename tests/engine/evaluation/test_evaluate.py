"""The job as a whole: from a checkpoint or label maps to tables."""

from __future__ import annotations

import csv
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lunet_cli.config.load import load_config
from lunet_cli.config.options import EvaluationOptions, PredictionOptions
from lunet_cli.engine.evaluation.evaluate import evaluate
from lunet_cli.engine.inference.predictor import Predictor
from lunet_cli.engine.training.train import train
from lunet_cli.errors import CheckpointError, ConfigError, DataError
from lunet_cli.results.evaluation import CaseScored, MetricSummary
from lunet_cli.results.events import Event, WarningIssued

FP32 = PredictionOptions(device="cpu", precision="fp32")


def predictor_of(path: Path, **options: object) -> Predictor:
    return Predictor.load([path], options=FP32, **options)  # type: ignore[arg-type]


def test_values_by_hand(
    find: Callable[..., MetricSummary], tmp_path: Path, data: Path, make_threshold_model
) -> None:
    model = make_threshold_model(tmp_path / "run/best_model.pt", labels={"liver": (1,)})
    result = evaluate(predictor_of(model), data=data)
    assert [score.case for score in result.scores] == [f"case{index}" for index in range(4)]
    first = result.scores[0].values
    # 8 planes of 6 x 4 voxels predicted, 7 of them right.
    assert first["dice"] == pytest.approx(2 * 7 / 15)
    assert (first["sensitivity"], first["precision"]) == (1, 7 / 8)
    assert first["absolute_volume_difference"] == pytest.approx(24 * 2 / 1000)
    assert (first["hausdorff"], first["nsd"]) == (1, 1)
    assert all(score.values["dice"] == 1 for score in result.scores[1:])
    assert find(result, "liver", "dice").mean == pytest.approx((2 * 7 / 15 + 3) / 4)
    assert result.folder == tmp_path / "run/eval/all_data"


def test_files_hold_values_and_definitions(
    tmp_path: Path, data: Path, make_threshold_model
) -> None:
    model = make_threshold_model(tmp_path / "run/best_model.pt")
    evaluate(predictor_of(model), data=data, output=tmp_path / "out")
    with (tmp_path / "out/metrics.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["case"] for row in rows] == ["case0", "case1", "case2", "case3"]
    assert float(rows[0]["dice"]) == pytest.approx(2 * 7 / 15)
    assert float(rows[0]["hausdorff95_mm"]) == 1
    assert float(rows[1]["reference_ml"]) == pytest.approx(8 * 24 * 2 / 1000)
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert summary["model"]["parameters"] == 686
    assert "1 where both masks are empty" in summary["definitions"]["dice"]
    assert summary["bootstrap"]["seed"] == 0
    assert {"lunet", "torch"} <= summary["versions"].keys()


@pytest.mark.parametrize("undefined", ["count", "diagonal"])
def test_structure_that_was_not_found(
    write: Callable[..., Path],
    find: Callable[..., MetricSummary],
    undefined: str,
    tmp_path: Path,
    data: Path,
    make_threshold_model,
) -> None:
    write(data / "images/case3.nii.gz", np.zeros((12, 10, 8), np.int16), (2.0, 1.0, 1.0))
    model = make_threshold_model(tmp_path / "model.pt")
    result = evaluate(
        predictor_of(model), data=data, options=EvaluationOptions(undefined=undefined)
    )
    penalty = undefined == "diagonal"
    dice, distance = find(result, "label1", "dice"), find(result, "label1", "assd")
    assert dice.num_undefined == 0
    assert dice.worst[0] == ("case3", 0.0)
    assert distance.num_undefined == 1
    assert distance.num_cases == (4 if penalty else 3)
    others = [score.values["assd"] for score in result.scores[:3]]
    assert distance.penalized_mean == pytest.approx((sum(others) + math.hypot(12, 10, 16)) / 4)
    assert distance.leaves_out != penalty
    assert math.isnan(dice.penalized_mean)
    if penalty:
        assert result.scores[3].values["hausdorff95"] == pytest.approx(math.hypot(12, 10, 16))
    assert distance.worst[0][0] == "case3"


def test_broken_cases_are_told_and_the_others_measured(
    write: Callable[..., Path], tmp_path: Path, data: Path, make_threshold_model
) -> None:
    (data / "images/case0.nii.gz").write_text("no image")
    label = np.zeros((12, 10, 8), np.uint8)
    label[0, 0, 0] = 7
    write(data / "labels/case1.nii.gz", label, (2.0, 1.0, 1.0))
    write(data / "labels/case2.nii.gz", label, (1.0, 1.0, 2.5))
    events: list[Event] = []
    result = evaluate(
        predictor_of(make_threshold_model(tmp_path / "model.pt")), data=data, on_event=events.append
    )
    assert [score.case for score in result.scores] == ["case3"]
    messages = [failure.message for failure in result.failures]
    assert "cannot be read" in messages[0]
    assert messages[1].startswith(f"{data / 'labels/case1.nii.gz'}: label value 7 not configured")
    assert "does not lie on the grid of its image" in messages[2]
    assert sum(isinstance(event, CaseScored) for event in events) == 1


@pytest.mark.parametrize("patch", ["null", "[16, 16, 16]"])
@pytest.mark.parametrize("out_channels", ["null", "1"])
def test_validation_of_the_training_is_met(
    find: Callable[..., MetricSummary], patch: str, out_channels: str, tmp_path: Path
) -> None:
    config = load_config(
        None,
        [
            "model.architecture=lunet_large_2f",
            f"model.out_channels={out_channels}",
            "data.phantom.num_cases=5",
            "data.phantom.size=32",
            "data.split.val_fraction=0.4",
            "training.epochs=3",
            "training.batch_size=1",
            f"training.patch_size={patch}",
            "training.precision=fp32",
            f"experiment.output_dir={tmp_path}",
            "experiment.name=run",
        ],
    )
    trained = train(config)
    assert trained.best is not None
    in_windows = PredictionOptions(window="trained")
    result = evaluate(Predictor.load([tmp_path / "run"], options=in_windows))
    label = "foreground" if out_channels == "1" else "mean of labels"
    assert find(result, label, "dice").mean == pytest.approx(trained.best.val_dice, abs=1e-6)
    assert result.folder == tmp_path / "run/eval/val_window_trained"
    one_pass = trained.one_pass_dice
    assert (one_pass is None) == (patch == "null")
    if one_pass is not None:
        flowing = PredictionOptions(window="stream")
        streamed = evaluate(Predictor.load([tmp_path / "run"], options=flowing))
        assert find(streamed, label, "dice").mean == pytest.approx(one_pass, abs=1e-6)
    train_side = evaluate(
        Predictor.load([tmp_path / "run"]),
        split="train",
        options=EvaluationOptions(metrics=("dice",)),
    )
    assert len({score.case for score in train_side.scores}) == 3
    # Without its run folder, the checkpoint finds the same cases by configuration and seed.
    shutil.copy(tmp_path / "run/best_model.pt", tmp_path / "alone.pt")
    alone = evaluate(
        Predictor.load([tmp_path / "alone.pt"], options=in_windows),
        options=EvaluationOptions(metrics=("dice",)),
    )
    assert [s.values["dice"] for s in alone.scores] == [s.values["dice"] for s in result.scores]


def test_cases_of_the_training_are_pointed_out(
    tmp_path: Path, data: Path, make_threshold_model, write_manifest
) -> None:
    model = make_threshold_model(tmp_path / "run/best_model.pt")
    write_manifest(tmp_path / "run", train=("case1", "case2"), val=("case0",))
    events: list[Event] = []
    predictor = predictor_of(model)
    evaluate(predictor, data=data, on_event=events.append)
    warnings = [str(event) for event in events if isinstance(event, WarningIssued)]
    assert warnings == [
        "warning: 2 of 4 cases were trained on, such as case1; their values flatter"
    ]
    result = evaluate(predictor, data=data, split="val")
    assert [score.case for score in result.scores] == ["case0"]
    (data / "images/case0.nii.gz").unlink()
    (data / "labels/case0.nii.gz").unlink()
    with pytest.raises(
        DataError, match="1 of the 1 val cases of the training are not there, such as case0"
    ):
        evaluate(predictor, data=data, split="val")


def test_test_cases_are_those_that_the_data_set_names(
    tmp_path: Path, data: Path, make_threshold_model
) -> None:
    predictor = predictor_of(make_threshold_model(tmp_path / "model.pt"))
    with pytest.raises(DataError, match="names no labelled test cases"):
        evaluate(predictor, data=data, split="test")
    (data / "splits.json").write_text(
        json.dumps([{"train": ["case0"], "val": ["case1"], "test": ["case2", "case3"]}])
    )
    result = evaluate(predictor, data=data, split="test")
    assert [score.case for score in result.scores] == ["case2", "case3"]
    nnunet = tmp_path / "nnunet"
    for side, case in (("Tr", "case0"), ("Ts", "case1")):
        (nnunet / f"images{side}").mkdir(parents=True)
        (nnunet / f"labels{side}").mkdir()
        shutil.copy(data / f"images/{case}.nii.gz", nnunet / f"images{side}/{case}_0000.nii.gz")
        shutil.copy(data / f"labels/{case}.nii.gz", nnunet / f"labels{side}/{case}.nii.gz")
    description = {
        "labels": {"background": 0, "label1": 1},
        "channel_names": {"0": "CT"},
        "file_ending": ".nii.gz",
    }
    (nnunet / "dataset.json").write_text(json.dumps(description))
    result = evaluate(predictor, data=nnunet, split="test")
    assert [score.case for score in result.scores] == ["case1"]


def test_lone_checkpoint_of_unknown_data_needs_some(
    tmp_path: Path, data: Path, make_threshold_model
) -> None:
    predictor = predictor_of(make_threshold_model(tmp_path / "model.pt"))
    with pytest.raises(ConfigError, match="the checkpoint knows its labels"):
        evaluate(predictor, data=data, labels={"x": (1,)})
    broken = predictor_of(make_threshold_model(tmp_path / "old.pt", config={"trainig": {}}))
    with pytest.raises(CheckpointError, match="its configuration is not that of this lunet"):
        evaluate(broken, data=data, split="val")
    assert evaluate(
        broken, data=data
    ).scores  # all of other data, which asks the configuration nothing


def test_different_evaluations_of_a_run_have_folders_of_their_own(
    make_data: Callable[..., Path], tmp_path: Path, data: Path, make_threshold_model
) -> None:
    best, last = (
        make_threshold_model(tmp_path / f"run/{name}.pt") for name in ("best_model", "last")
    )
    other = make_data(tmp_path / "other")
    dice = EvaluationOptions(metrics=("dice",))
    folders = [
        evaluate(predictor_of(best), data=data, options=dice).folder,
        evaluate(predictor_of(best), data=other, options=dice).folder,
        evaluate(predictor_of(last), data=data, options=dice).folder,
        evaluate(Predictor.load([best, last], options=FP32), data=data, options=dice).folder,
    ]
    assert [folder.name for folder in folders] == [
        "all_data",
        "all_other",
        "all_data_last",
        "all_data_ensemble_of_2",
    ]


def test_memory_that_is_not_there_fails_the_case_alone(
    tmp_path: Path, data: Path, make_threshold_model
) -> None:
    model = make_threshold_model(tmp_path / "model.pt")
    predictor = Predictor.load([model], options=PredictionOptions(device="cpu", max_memory_mib=5))
    result = evaluate(predictor, data=data)
    assert len(result.failures) == 4
    assert result.failures[0].message.startswith(f"{data / 'images/case0.nii.gz'}: needs about")
