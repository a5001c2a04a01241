"""Cross-validation: every case once, whatever interrupts it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from lunet_cli.config.load import load_config, with_settings
from lunet_cli.config.options import PhantomOptions
from lunet_cli.config.run import RunConfig
from lunet_cli.engine.checkpoints.models import find_checkpoint
from lunet_cli.engine.data.phantom_files import write_phantom
from lunet_cli.engine.inference.load_model import load_model
from lunet_cli.engine.training import folds as job
from lunet_cli.engine.training.fold_plan import fold_configs
from lunet_cli.engine.training.folds import train_folds
from lunet_cli.engine.training.train import train
from lunet_cli.errors import CheckpointError, ConfigError, OutputError
from lunet_cli.records.evaluation import read_scores
from lunet_cli.results.training import TrainResult


def _config(folder: Path, *more: str) -> RunConfig:
    settings = [
        "data.phantom.num_cases=5",
        "data.phantom.size=16",
        "data.split.num_folds=2",
        "training.epochs=1",
        "training.batch_size=2",
        "training.scheduler=none",
        "model.architecture=lunet_large_1f",
        "visualization.plot_slices=false",
        "visualization.plot_training_curves=false",
        f"experiment.output_dir={folder}",
        "experiment.name=cv",
    ]
    return load_config(None, [*settings, *more])


def test_every_case_is_measured_once_by_a_network_that_has_not_seen_it(tmp_path: Path) -> None:
    found = train_folds(_config(tmp_path))
    assert [fold.number for fold in found.folds] == [0, 1]
    assert found.pooled is not None
    cases = {f"phantom_{number:04d}" for number in range(5)}
    scores = read_scores(tmp_path / "cv" / "metrics.csv")
    for label in ("anterior", "posterior", "ventricle"):
        assert sorted(row.case for row in scores if row.label == label) == sorted(cases)
    trained_on: list[str] = []
    for fold in found.folds:
        manifest = json.loads((fold.run_dir / "manifest.json").read_text())
        assert not set(manifest["split"]["val"]) & set(manifest["split"]["train"])
        trained_on += manifest["split"]["val"]
    assert sorted(trained_on) == sorted(cases)
    assert len(load_model(found.run_dir).models) == 2
    with pytest.raises(CheckpointError) as caught:
        find_checkpoint(found.run_dir)
    assert f"name one of them: {found.run_dir / 'fold_0'}" in caught.value.hint


def test_an_interrupted_cross_validation_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train_folds(_config(tmp_path / "whole"))
    calls: list[str] = []

    def interrupted(config: RunConfig, **options: object) -> TrainResult:
        calls.append(config.experiment.name)
        result = train(config, **options)  # type: ignore[arg-type]
        if config.experiment.name == "fold_1" and calls.count("fold_1") == 1:
            return replace(result, outcome="interrupted", signal=2)
        return result

    monkeypatch.setattr(job, "train", interrupted)
    config = _config(tmp_path / "parts")
    first = train_folds(config)
    assert (first.outcome, first.signal, first.pooled) == ("interrupted", 2, None)
    with pytest.raises(OutputError, match="is not overwritten"):
        train_folds(config)
    second = train_folds(config, resume=True)
    assert calls == ["fold_0", "fold_1"]  # Both have written their end.
    assert whole.pooled is not None
    assert second.pooled is not None
    assert second.pooled.scores == whole.pooled.scores


def test_folds_can_be_trained_one_by_one(tmp_path: Path) -> None:
    config = _config(tmp_path)
    first = train_folds(config, only=1)
    assert [fold.number for fold in first.folds] == [1]
    assert first.pooled is None
    second = train_folds(config, only=0)
    assert second.pooled is not None
    longer = with_settings(config, ["training.epochs=2"])
    third = train_folds(longer, resume=True)
    assert [fold.num_epochs for fold in third.folds] == [2, 2]
    with pytest.raises(ConfigError, match="2 is out of range"):
        train_folds(config, only=2)


def test_folders_may_have_any_name(tmp_path: Path) -> None:
    configs = fold_configs(with_settings(_config(tmp_path), ['experiment.output_dir="a: [b] #c"']))
    assert configs[1].experiment.output_dir == Path("a: [b] #c/cv")
    assert configs[1].data.cache_dir == Path("a: [b] #c/.cache")


def test_the_folds_of_nnunet_are_taken_where_they_lie(tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_phantom(data, PhantomOptions(num_cases=4, size=(16, 16, 16)))
    names = sorted(path.name.removesuffix(".nii.gz") for path in (data / "labelsTr").iterdir())
    entries = [{"train": names[:-1], "val": names[-1:]}, {"train": names[1:], "val": names[:1]}]
    (data / "splits_final.json").write_text(json.dumps([*entries, entries[0]]))
    settings = [f"data.root={data}", "data.split.num_folds=5"]
    configs = fold_configs(_config(tmp_path, *settings))
    assert [config.data.split.fold for config in configs] == [0, 1, 2]
    (data / "splits_final.json").write_text(json.dumps(entries[:1]))
    assert len(fold_configs(_config(tmp_path, *settings))) == 5
    one = [f"data.root={data}", "data.split.file=splits_final.json"]
    with pytest.raises(ConfigError, match="has one division"):
        fold_configs(_config(tmp_path, *one))
    apart = [f"data.train_dir={data}", f"data.val_dir={tmp_path}", "data.split.num_folds=5"]
    with pytest.raises(ConfigError, match="one division"):
        fold_configs(_config(tmp_path, *apart))
