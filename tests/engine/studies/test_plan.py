"""Which trainings a study has, and what they are called."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lunet_cli.config.run import RunConfig
from lunet_cli.engine.studies.plan import Planner, in_order, value_text
from lunet_cli.engine.studies.study import with_vary
from lunet_cli.errors import ConfigError

MakeConfig = Callable[..., RunConfig]


def planner(config: RunConfig, vary: dict[str, Any]) -> Planner:
    return Planner(with_vary(config, vary))


def test_every_combination_is_trained_with_every_seed(
    tmp_path: Path, tiny_config: MakeConfig
) -> None:
    config = tiny_config(tmp_path, "study.seeds=2", "study.minutes=3", "visualization=null")
    vary = {
        "model.architecture": ["lunet_small_1f", "unet_small_1f"],
        "training.learning_rate": [0.01, "1e-3"],
    }
    variants = planner(config, vary).grid()
    assert [variant.name for variant in variants] == [
        "lunet_small_1f_learning_rate-0.01",
        "lunet_small_1f_learning_rate-1e-3",
        "unet_small_1f_learning_rate-0.01",
        "unet_small_1f_learning_rate-1e-3",
    ]
    runs = list(in_order(variants))
    # Whole seeds come first.
    assert [run.config.experiment.seed for run in runs] == [1] * 4 + [2] * 4
    last = runs[-1]
    assert last.name == "unet_small_1f_learning_rate-1e-3_seed2"
    assert last.folder.path == tmp_path / "study" / last.name
    assert last.config.model.architecture == "unet_small_1f"
    assert last.config.training.learning_rate == 0.001
    assert last.config.training.max_minutes == 3
    # All seeds are measured on the same cases.
    assert {run.config.data.split.seed for run in runs} == {42}
    assert last.config.study.vary == {}


def test_without_anything_that_varies_there_are_seeds(
    tmp_path: Path, tiny_config: MakeConfig
) -> None:
    (variant,) = planner(tiny_config(tmp_path), {}).grid()
    assert [trial.name for trial in variant.trials] == [
        "lunet_small_1f_seed1",
        "lunet_small_1f_seed2",
        "lunet_small_1f_seed3",
    ]


def test_settings_go_with_values(tmp_path: Path, tiny_config: MakeConfig) -> None:
    config = tiny_config(
        tmp_path,
        "study.vary={model.architecture: [lunet_small_1f, lunet_large_2f]}",
        "study.settings={model.architecture=*_large_*: {training.batch_size: 1}}",
    )
    small, large = Planner(config).grid()
    assert small.trials[0].config.training.batch_size == 2
    assert large.trials[0].config.training.batch_size == 1


@pytest.mark.parametrize(
    ("key", "values", "expected"),
    [
        ("training.patch_size", [[32, 32, 32], None], ["patch_size-32x32x32", "patch_size-null"]),
        ("model.drop_prob", [0, 0.5], ["drop_prob-0", "drop_prob-0.5"]),
        ("wandb.enabled", [True, False], ["enabled-true", "enabled-false"]),
        ("data.source", ["a b", "a/b", "../"], ["source-a-b", "source-a-b-2", "source-value"]),
        ("data.source", ["Ä", "ä" * 300], ["source-value", "source-value-2"]),
    ],
)  # fmt: skip
def test_names_are_those_of_folders(
    tmp_path: Path, tiny_config: MakeConfig, key: str, values: list[Any], expected: list[str]
) -> None:
    variants = planner(tiny_config(tmp_path), {key: values}).grid()
    assert [variant.name for variant in variants] == expected


def test_long_names_are_cut_and_stay_apart(tmp_path: Path, tiny_config: MakeConfig) -> None:
    texts = ["a" * 300 + end for end in "xy"]
    first, second = planner(tiny_config(tmp_path), {"data.source": texts}).grid()
    assert first.name != second.name
    assert len(first.name) == len(second.name) < 150


def test_keys_that_end_alike_are_named_in_full(tmp_path: Path, tiny_config: MakeConfig) -> None:
    vary = {"training.loss.name": ["auto"], "preprocessing.normalization.name": ["zscore"]}
    (variant,) = planner(tiny_config(tmp_path), vary).grid()
    assert variant.name == "training.loss.name-auto_preprocessing.normalization.name-zscore"


@pytest.mark.parametrize(
    ("settings", "vary", "mistakes"),
    [
        (
            [],
            {"model.architecture": ["lunet_smal_4f", "lunet_small_1f"], "training.lr": [1, 2]},
            [
                "`vary=model.architecture=lunet_smal_4f`: model.architecture: 'lunet_smal_4f' ",
                "`vary=training.lr=1`: training.lr: unknown key. Did you mean 'learning_rate'?",
                "`vary=training.lr=2`: training.lr: unknown key. Did you mean 'learning_rate'?",
            ],
        ),
        ([], {"epochs": [1]}, ["`vary=epochs=1`: epochs: unknown key. Did you mean 'training.epo"]),
        ([], {"training.epochs": [0]}, ["`vary=training.epochs=0`: training.epochs: expected at"]),
        ([], {"training.epochs": [1, 1]}, ["`vary=training.epochs`: 1 is there 2 times"]),
        ([], {"training.epochs": {"low": 1, "high": 3}}, ["`vary=training.epochs`: a range"]),
        ([], {"experiment.name": ["a"]}, ["`vary=experiment.name`: cannot vary"]),
        ([], {"study.seeds": [1, 2]}, ["`vary=study.seeds`: cannot vary"]),
        (["study.minutes=1"], {"training.max_minutes": [1]}, ["`vary=training.max_minutes`: `st"]),
        (["study.fold=all"], {"data.split.fold": [0]}, ["`vary=data.split.fold`: `study.fold` t"]),
        (["study.seeds=1000"], {"training.epochs": list(range(1, 102))}, ["101 combinations with"]),
        (
            ["study.settings={model.architecture=x*: {training.epochs: 1}}"],
            {"model.architecture": ["lunet_small_1f"]},
            ["study.settings: model.architecture=x*: fits none of the values of model"],
        ),
        (
            ["study.settings={model.architecture=l*: {training.lr: 1}}"],
            {"model.architecture": ["lunet_small_1f"]},
            ["study.settings: model.architecture=l*: training.lr: unknown key."],
        ),
        (
            ["study.settings={training.epochs=1: {training.epochs: 2}}"],
            {"training.epochs": [1]},
            ["study.settings: training.epochs=1: training.epochs varies, and cannot be set here"],
        ),
    ],
)  # fmt: skip
def test_mistakes_are_told_once_with_where_they_come_from(
    tmp_path: Path,
    tiny_config: MakeConfig,
    settings: list[str],
    vary: dict[str, Any],
    mistakes: list[str],
) -> None:
    config = tiny_config(tmp_path, *settings)
    with pytest.raises(ConfigError) as told:
        planner(config, vary).grid()
    lines = told.value.lines
    assert len(lines) == len(mistakes)
    for line, mistake in zip(lines, mistakes, strict=True):
        assert re.match(re.escape(mistake), line)


def test_values_are_told_as_people_write_them() -> None:
    assert [*map(value_text, ["a b", None, True, 0.001, [1, 2], (1, 2)])] == [
        *("a b", "null", "true", "0.001", "[1, 2]", "[1, 2]")
    ]
