"""What the trials of a study are asked to do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from lunet_cli.config.load import load_config, with_settings
from lunet_cli.config.run import RunConfig
from lunet_cli.engine.data.splits import load_cases
from lunet_cli.engine.pruning.study_plan import (
    Trial,
    plan_trials,
    require_as_asked,
    require_within_reach,
)
from lunet_cli.errors import ConfigError


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    return load_config(
        "quickstart",
        [
            f"experiment.output_dir={tmp_path}",
            "experiment.name=mine",
            "model.architecture=unet_small_2f",
        ],
    )


def trials_of(
    config: RunConfig,
    strategies: Sequence[str] = ("stamp",),
    seeds: int = 1,
    from_scratch: Sequence[str] = (),
) -> dict[str, Trial]:
    trials = plan_trials(config, strategies=strategies, seeds=seeds, from_scratch=from_scratch)
    return {trial.name: trial for trial in trials}


def test_starts_come_first_then_seed_by_seed(config: RunConfig, tmp_path: Path) -> None:
    trials = trials_of(
        config, ["stamp", "stamp:normalization=none"], seeds=2, from_scratch=["lunet_small_4f"]
    )
    assert list(trials) == [
        "start_seed1",
        "start_seed2",
        "stamp_seed1",
        "stamp-unnormalized_seed1",
        "lunet_small_4f_seed1",
        "stamp_seed2",
        "stamp-unnormalized_seed2",
        "lunet_small_4f_seed2",
    ]
    trial = trials["stamp-unnormalized_seed2"]
    assert trial.folder.path == tmp_path / "mine" / "stamp-unnormalized_seed2"
    assert trial.start is trials["start_seed2"]
    assert trial.seed == 2
    assert trial.config.pruning.normalization == "none"
    assert trials["stamp_seed1"].config.pruning.normalization == "layer-l2"
    assert trials["lunet_small_4f_seed1"].config.model.architecture == "lunet_small_4f"
    assert trials["lunet_small_4f_seed1"].start is None


def test_a_strategy_may_have_several_keys_of_its_own(config: RunConfig) -> None:
    (_, trial) = trials_of(config, ["stamp:criterion=l1, targeted_dropout=0"]).values()
    assert trial.name == "stamp-criterion-l1-targeted_dropout-0_seed1"
    assert (trial.config.pruning.criterion, trial.config.pruning.targeted_dropout) == ("l1", 0)


@pytest.mark.parametrize(
    ("strategies", "presets", "mistake"),
    [
        (["stmp"], [], "--set pruning.strategy=stmp: pruning.strategy: "),
        (["stamp:normalisation=none"], [], "pruning.normalisation: unknown key"),
        (["stamp:criterion"], [], "expected section.key=value"),
        (["stamp", "stamp"], [], "stamp: is there 2 times"),
        (["stamp"], ["lunet_smal_4f"], "'lunet_smal_4f' is not a preset"),
        (["stamp:channels_per_step=9999"], [], "is more than the 165 channels"),
    ],
)
def test_what_cannot_be_asked_for_is_told_before_anything_is_trained(
    config: RunConfig, strategies: list[str], presets: list[str], mistake: str
) -> None:
    with pytest.raises(ConfigError) as found:
        trials_of(config, strategies, from_scratch=presets)
    assert mistake in found.value.message


def begun_with(trial: Trial, *settings: str) -> None:
    trial.folder.path.mkdir(parents=True)
    trial.folder.write_config(with_settings(trial.config, settings))


def test_what_does_not_change_the_network_does_not_count(config: RunConfig) -> None:
    trials = trials_of(config)
    for trial in trials.values():
        begun_with(
            trial,
            "experiment.name=moved",
            "experiment.output_dir=elsewhere",
            "data.num_workers=2",
            "training.num_threads=1",
            "visualization.plot_slices=true",
            "evaluation.metrics=[hausdorff95]",
        )
    # A training does not look at this section.
    start = trials["start_seed1"]
    start.folder.write_config(with_settings(start.config, ["pruning.steps=7"]))
    require_as_asked(trials.values())


def test_another_configuration_is_a_line_for_each_trial(config: RunConfig) -> None:
    trials = trials_of(config, seeds=2)
    begun_with(trials["start_seed1"], "training.epochs=3")
    begun_with(trials["start_seed2"])
    begun_with(trials["stamp_seed2"], "pruning.margin=0.5", "data.phantom.noise=0.5")
    with pytest.raises(ConfigError) as found:
        require_as_asked(trials.values())
    first, second = found.value.lines
    assert first.endswith("start_seed1: was begun with training.epochs 3 and not 40")
    assert second.endswith(
        "stamp_seed2: was begun with data.phantom.noise 0.5 and not 0.12, pruning.margin 0.5 and "
        "not 0.01"
    )


def test_paths_are_the_same_from_anywhere(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    start = trials_of(with_settings(config, ["data.root=volumes"]))["start_seed1"]
    begun_with(start, f"data.root={tmp_path / 'volumes'}")
    require_as_asked([start])


def test_all_seeds_divide_the_cases_alike(config: RunConfig) -> None:
    trials = trials_of(config, seeds=3, from_scratch=["lunet_small_4f"])
    sides = set()
    for trial in trials.values():
        _, split = load_cases(trial.config.data, seed=trial.seed)
        sides.add(tuple(case.case_id for case in split.val))
    # Those of the configuration itself.
    _, split = load_cases(config.data, seed=config.experiment.seed)
    assert sides == {tuple(case.case_id for case in split.val)}


def test_a_pruning_may_go_farther_than_it_was_begun_for(config: RunConfig) -> None:
    begun_with(trials_of(config)["stamp_seed1"], "pruning.steps=7")
    require_as_asked(trials_of(config).values())


def test_a_budget_that_no_pruning_comes_down_to_is_told(config: RunConfig) -> None:
    trials = trials_of(config, ["none", "stamp"]).values()
    require_within_reach(trials, 0.15)
    with pytest.raises(ConfigError, match=r"`budget`: 0\.001 is less than the 0\.\d+ of the"):
        require_within_reach(trials, 0.001)
    require_within_reach(trials_of(config, ["none"]).values(), 0.001)
