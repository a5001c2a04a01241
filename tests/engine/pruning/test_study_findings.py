"""What a study finds in the tables of its trials, against hand arithmetic."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
import pytest

from lunet_cli.config.load import load_config
from lunet_cli.engine.evaluation.summary import bootstrap_interval
from lunet_cli.engine.pruning.study_findings import find
from lunet_cli.engine.pruning.study_plan import Trial, plan_trials
from lunet_cli.engine.run_folder import RunFolder
from lunet_cli.results.studies import CaseDifference, OverSeeds, StudyResult


class WriteTrial(Protocol):
    def training(self, trial: Trial, dice: float, cases: dict[str, float]) -> None: ...

    def pruning(
        self, trial: Trial, steps: list[tuple[int, int, tuple[float, float, float]]]
    ) -> None: ...


# Of each seed, steps: parameters, channels of the layer that is pruned, Dice of the cases a, b, c.
STAMP = {
    1: [(1000, 8, (0.8, 0.7, 0.6)), (500, 5, (0.7, 0.7, 0.7)), (400, 4, (0.5, 0.5, 0.5))],
    2: [(1000, 8, (0.8, 0.8, 0.8)), (600, 6, (0.6, 0.6, 0.6)), (300, 3, (0.5, 0.7, 0.9))],
}
RANDOM = {
    1: [(1000, 8, (0.8, 0.7, 0.6)), (450, 8, (0.8, 0.6, 0.7)), (420, 7, (0.5, 0.5, 0.5))],
    2: [(1000, 8, (0.8, 0.8, 0.8)), (490, 5, (0.6, 0.8, 0.8)), (350, 4, (0.4, 0.4, 0.4))],
}


@pytest.fixture
def trials(tmp_path: Path) -> dict[str, Trial]:
    """Trials of two strategies, a control, and a network beside them, without any file yet."""
    settings = [
        f"experiment.output_dir={tmp_path}",
        "experiment.name=study",
        "model.architecture=unet_small_1f",
        "pruning.steps=2",
    ]
    planned = plan_trials(
        load_config("quickstart", settings),
        strategies=["stamp", "random-in-layer", "none"],
        seeds=2,
        from_scratch=["lunet_small_1f"],
    )
    return {trial.name: trial for trial in planned}


@pytest.fixture
def found(trials: dict[str, Trial], write_trial: WriteTrial) -> StudyResult:
    """The findings where all but the controls have finished."""
    for seed in (1, 2):
        write_trial.training(trials[f"start_seed{seed}"], 0.6 + 0.1 * seed, {})
        write_trial.pruning(trials[f"stamp_seed{seed}"], STAMP[seed])
        write_trial.pruning(trials[f"random-in-layer_seed{seed}"], RANDOM[seed])
        cases = {"a": 0.5, "b": 0.4, "c": 0.3 + 0.1 * seed}
        write_trial.training(trials[f"lunet_small_1f_seed{seed}"], 0.4, cases)
    folder = trials["start_seed1"].folder.path.parent
    return find(tuple(trials.values()), RunFolder(folder), budget=0.5)


def test_the_budget_takes_the_first_step_within_it(found: StudyResult) -> None:
    stamp, rival = found.strategies
    # Of seed 1 that with 500 parameters, which is the budget itself; of seed 2 that with 300.
    assert stamp.strategy == "stamp"
    assert stamp.is_reached
    assert stamp.parameters == OverSeeds(400, 300, 500, 2)
    assert stamp.flops == 400_000
    assert stamp.dice.mean == pytest.approx(0.7)
    # Channels of the widest for each of the narrowest, without the protected layer.
    assert stamp.ratio_before == 8 / 2
    assert stamp.ratio == OverSeeds(2.0, 3 / 2, 5 / 2, 2)
    assert (rival.strategy, rival.parameters) == ("random-in-layer", OverSeeds(470, 450, 490, 2))
    assert (rival.dice.low, rival.dice.high) == pytest.approx((0.7, 2.2 / 3))


def require_difference(
    found: CaseDifference | None, by_case: list[float], *, num_seeds: int = 2
) -> None:
    """Compare with differences of the cases a, b, c."""
    assert found is not None
    assert (found.num_cases, found.num_seeds) == (3, num_seeds)
    assert found.mean == pytest.approx(sum(by_case) / 3)
    expected = bootstrap_interval(np.array(by_case))
    assert found.interval == pytest.approx(expected)


def test_each_case_counts_once_with_its_mean_over_seeds(found: StudyResult) -> None:
    stamp, rival = found.strategies
    # a: 0.7 - 0.8 and 0.5 - 0.8; b: 0 and 0.7 - 0.8; c: 0.7 - 0.6 and 0.9 - 0.8.
    require_difference(stamp.change, [-0.2, -0.05, 0.1])
    # a: 0 and 0.6 - 0.8; b: 0.6 - 0.7 and 0; c: 0.7 - 0.6 and 0.
    require_difference(rival.change, [-0.1, -0.05, 0.05])
    strategies, trained = found.comparisons
    assert (strategies.first, strategies.second) == ("random-in-layer", "stamp")
    # a: 0.8 - 0.7 and 0.6 - 0.5; b: 0.6 - 0.7 and 0.8 - 0.7; c: 0.7 - 0.7 and 0.8 - 0.9.
    require_difference(strategies.difference, [0.1, 0.0, -0.05])
    # Ranks 1 (below zero) and 2 of the two cases that differ: 3 of the 4 ways to give them signs
    # are as uneven, on either side all of them.
    assert strategies.p_value == 1.0
    assert (trained.first, trained.second) == ("lunet_small_1f", "stamp")
    # a: 0.5 - 0.7 and 0.5 - 0.5; b: 0.4 - 0.7 twice; c: 0.4 - 0.7 and 0.5 - 0.9.
    require_difference(trained.difference, [-0.1, -0.3, -0.35])
    # All three below zero: one of the 2^3 ways, and the opposite one.
    assert trained.p_value == pytest.approx(2 / 8)


def test_a_curve_goes_as_far_down_as_all_seeds(found: StudyResult) -> None:
    stamp, _ = found.curves
    # Seed 1 ends at 400, so that 300 of seed 2 has nothing beside it.
    assert [parameters for parameters, _ in stamp.points] == [400, 500, 600, 1000]
    at_600 = stamp.points[2][1]
    # Seed 1 has 500 parameters there, the first step that is within 600.
    assert (at_600.low, at_600.high) == pytest.approx((0.6, 0.7))
    at_400 = stamp.points[0][1]
    assert at_400.mean == pytest.approx((0.5 + 0.7) / 2)


def test_networks_that_were_trained_stand_beside(found: StudyResult) -> None:
    start, beside = found.trained
    assert (start.name, start.kind) == ("unet_small_1f", "start")
    assert start.dice == OverSeeds(pytest.approx(0.75), 0.7, 0.8, 2)
    # Of the network in the manifest, whatever the preset says.
    assert (beside.name, beside.kind, beside.parameters) == ("lunet_small_1f", "from-scratch", 686)
    assert beside.flops == 82_000_640


def test_the_table_has_every_network_of_finished_trials(found: StudyResult) -> None:
    lines = RunFolder(found.folder).study.read_text().splitlines()
    assert len(lines) == 1 + 2 + 2 * 2 * 3 + 2
    assert "stamp_seed1,pruning,stamp,1,2,400,400000,0.5,2.0" in "\n".join(lines)
    assert found.failures == ()


def test_a_control_is_told_of_its_last_step(
    trials: dict[str, Trial], write_trial: WriteTrial
) -> None:
    write_trial.training(trials["start_seed1"], 0.7, {})
    write_trial.pruning(trials["stamp_seed1"], STAMP[1])
    same = [(1000, 8, (0.8, 0.7, 0.6)), (1000, 8, (0.1, 0.1, 0.1)), (1000, 8, (0.9, 0.9, 0.9))]
    write_trial.pruning(trials["none_seed1"], same)
    folder = trials["start_seed1"].folder.path.parent
    found = find(tuple(trials.values()), RunFolder(folder), budget=0.5)
    _, control = found.strategies
    assert not control.is_reached
    assert control.dice.mean == pytest.approx(0.9)
    require_difference(control.change, [0.1, 0.2, 0.3], num_seeds=1)
    assert found.comparisons == ()
    ((parameters, dice),) = found.curves[1].points
    assert (parameters, dice.mean) == (1000, pytest.approx(0.9))


def test_a_damaged_trial_is_told_and_the_others_count(
    trials: dict[str, Trial], write_trial: WriteTrial
) -> None:
    write_trial.training(trials["start_seed1"], 0.7, {})
    for seed in (1, 2):
        write_trial.pruning(trials[f"stamp_seed{seed}"], STAMP[seed])
    trials["stamp_seed2"].folder.pruning_cases.write_text("nothing\n")
    folder = trials["start_seed1"].folder.path.parent
    found = find(tuple(trials.values()), RunFolder(folder), budget=0.5)
    (failure,) = found.failures
    assert failure.trial == "stamp_seed2"
    assert "pruning_cases.csv: is not the table" in failure.message
    assert found.strategies[0].dice.num_seeds == 1
