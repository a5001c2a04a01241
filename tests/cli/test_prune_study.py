"""`lunet prune study` as a person meets it; trials that run are in the tests of the engine."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lunet_cli.config.load import load_config
from lunet_cli.engine.pruning.study_plan import plan_trials

CallLunet = Callable[..., "subprocess.CompletedProcess[str]"]
STUDY = [
    *("prune", "study", "quickstart", "--seeds", "1", "--strategy", "stamp"),
    *("--strategy", "stamp:normalization=none", "--from-scratch", "lunet_small_1f"),
]
SETTINGS = ["experiment.name=mine", "model.architecture=unet_small_1f", "pruning.steps=1"]


def command(*more: str) -> list[str]:
    settings = [f"--set={setting}" for setting in SETTINGS]
    return [*STUDY, *settings, *more]


@pytest.fixture
def finished(tmp_path: Path, write_trial: Any) -> Path:
    """A study whose trials have all finished."""
    config = load_config("quickstart", [*SETTINGS, f"experiment.output_dir={tmp_path / 'runs'}"])
    strategies = ["stamp", "stamp:normalization=none"]
    trials = plan_trials(config, strategies=strategies, seeds=1, from_scratch=["lunet_small_1f"])
    start, stamp, rival, beside = trials
    write_trial.training(start, 0.75, {})
    first = (22362, 8, (0.8, 0.75, 0.7))
    write_trial.pruning(stamp, [first, (3000, 2, (0.7, 0.7, 0.7))])
    write_trial.pruning(rival, [first, (2000, 3, (0.75, 0.8, 0.85))])
    write_trial.training(beside, 0.5, {"a": 0.5, "b": 0.5, "c": 0.5})
    return tmp_path / "runs" / "mine"


def test_a_dry_run_lists_the_trials(tmp_path: Path, call_lunet: CallLunet) -> None:
    done = call_lunet(*command("--dry-run", "--jobs", "2"), cwd=tmp_path)
    assert done.returncode == 0
    title, _, *trials = done.stdout.splitlines()
    assert title == "4 trials, 4 of them to do: dry run, nothing was written"
    assert [line.split() for line in trials[:4]] == [
        ["start_seed1", "start", "unet_small_1f", "to", "do"],
        ["stamp_seed1", "pruning", "unet_small_1f", "to", "do"],
        ["stamp-unnormalized_seed1", "pruning", "unet_small_1f", "to", "do"],
        ["lunet_small_1f_seed1", "from-scratch", "lunet_small_1f", "to", "do"],
    ]
    assert trials[-1].startswith("2 at once, each on ")
    assert list(tmp_path.iterdir()) == []


def test_what_has_finished_becomes_tables_and_curves(finished: Path, call_lunet: CallLunet) -> None:
    done = call_lunet(*command(), cwd=finished.parents[1])
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    title = "unet_small_1f: strategies of pruning at 0.15 of the parameters (103)"
    # The network that was trained in this test is a smaller one than the preset says.
    assert title in lines
    (stamp,) = [line.split() for line in lines if line.startswith("stamp  ") and "0.003" in line]
    assert stamp == ["stamp", "3,000", "0.003", "0.7000", "1.0"]
    (pair,) = [line.split() for line in lines if line.startswith("stamp-unnormalized  stamp")]
    # 0.05, 0.1 and 0.15 more: all three above zero is one of the 2^3 ways, and so is none.
    assert pair[2] == "+0.1000"
    assert pair[-4:] == ["3", "x", "1", "0.2500"]
    assert lines[-1] == "runs/mine/study.csv"
    assert "o stamp  x stamp-unnormalized  + unet_small_1f, unpruned" in done.stdout


@pytest.mark.parametrize(("suffix", "begin"), [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_the_picture_is_saved(
    finished: Path, call_lunet: CallLunet, suffix: str, begin: bytes
) -> None:
    place = finished.parents[1]
    done = call_lunet(*command("-o", f"study.{suffix}"), cwd=place)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"study.{suffix}"
    assert (place / f"study.{suffix}").read_bytes().startswith(begin)


@pytest.mark.parametrize(
    ("more", "error"),
    [
        (["--set=training.epochs=3"], "was begun with training.epochs 40 and not 3"),
        (["--budget", "0"], "--budget: 0 is not a share of the parameters"),
        (["--steps", "3"], "there is no option --steps"),
        (["--strategy", "stmp"], "pruning.strategy: "),
        (["-o", "a.txt"], "-o a.txt: is not a picture"),
    ],
)
def test_mistakes_are_a_line(
    finished: Path, call_lunet: CallLunet, more: list[str], error: str
) -> None:
    done = call_lunet(*command(*more), cwd=finished.parents[1])
    assert done.returncode == 2
    assert error in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_trial_that_failed_is_told_at_the_end(finished: Path, call_lunet: CallLunet) -> None:
    (finished / "stamp_seed1" / "pruning.csv").write_text("nothing\n")
    done = call_lunet(*command(), cwd=finished.parents[1])
    assert done.returncode == 1
    *_, error, hint = done.stderr.splitlines()
    assert error.startswith("error: stamp_seed1: ")
    assert "is not the table of a pruning" in error
    assert hint == "hint:  lunet prune RUN writes it."
    assert "stamp-unnormalized" in done.stdout
