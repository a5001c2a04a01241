"""Real studies of tiny networks, stopped and killed on the way."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lunet_cli.config.load import load_config
from lunet_cli.config.run import RunConfig
from lunet_cli.engine.pruning.study import list_trials, study
from lunet_cli.engine.run_folder import RunFolder
from lunet_cli.engine.run_lock import hold_run
from lunet_cli.errors import ConfigError, LunetError, OutputError
from lunet_cli.results.events import Event
from lunet_cli.results.studies import TrialDone, TrialFailed, TrialMoved

STRATEGIES = ("stamp", "random-in-layer")
BESIDE = ("lunet_small_1f",)


def config_of(folder: Path, *settings: str) -> RunConfig:
    return load_config(
        "quickstart",
        [
            f"experiment.output_dir={folder}",
            "experiment.name=study",
            "model.architecture=unet_small_1f",
            "data.phantom.num_cases=6",
            "data.phantom.size=32",
            "training.epochs=2",
            "training.precision=fp32",
            # Two threads wait long for each other where other tests want their cores too.
            "training.num_threads=1",
            "pruning.steps=2",
            "pruning.channels_per_step=20",
            *settings,
        ],
    )


@dataclass
class Watcher:
    """Notes events, and acts once when a trial is first heard of after a number of steps."""

    trial: str = ""
    num_done: int = -1
    act: Callable[[], None] = lambda: None
    events: list[Event] = field(default_factory=list)

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        is_awaited = isinstance(event, TrialMoved) and event.trial == self.trial
        if is_awaited and event.num_done == self.num_done:
            self.num_done = -1
            self.act()

    def of(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study that nothing has stopped."""
    place = tmp_path_factory.mktemp("whole")
    watcher = Watcher()
    result = study(
        config_of(place),
        strategies=STRATEGIES,
        seeds=1,
        from_scratch=BESIDE,
        jobs=2,
        budget=0.9,
        on_event=watcher,
    )
    assert result.failures == ()
    assert {event.trial for event in watcher.of(TrialDone)} == {
        "start_seed1",
        "stamp_seed1",
        "random-in-layer_seed1",
        "lunet_small_1f_seed1",
    }
    return result.folder


def test_what_has_finished_is_not_done_again(whole: Path) -> None:
    config = config_of(whole.parent)
    stamp = RunFolder(whole / "stamp_seed1")
    before = stamp.last.stat().st_mtime_ns
    watcher = Watcher()
    result = study(
        config, strategies=STRATEGIES, seeds=1, from_scratch=BESIDE, budget=0.9, on_event=watcher
    )
    assert watcher.events == []
    assert stamp.last.stat().st_mtime_ns == before
    # Both prune the same network: the validation of their first step is that of the training.
    (unpruned, beside) = result.trained
    for curve in result.curves:
        assert curve.points[-1] == (unpruned.parameters, unpruned.dice)
    steps = stamp.read_pruning()
    assert steps[0].val_dice == unpruned.dice.mean
    # The cases that were measured afterwards have the mean that the training has found.
    trained = RunFolder(whole / "lunet_small_1f_seed1")
    summary = trained.read_summary()
    assert summary is not None
    assert summary.best is not None
    cases = trained.read_validation_cases(summary.best.epoch)
    assert cases is not None
    assert sum(cases.values()) / len(cases) == pytest.approx(beside.dice.mean, abs=1e-12)
    listed = list_trials(config, strategies=STRATEGIES, seeds=1, from_scratch=BESIDE)
    assert {trial.state for trial in listed} == {"finished"}


def test_what_was_stopped_or_killed_ends_as_if_it_had_not_been(whole: Path, tmp_path: Path) -> None:
    config = config_of(tmp_path)
    stamp = RunFolder(tmp_path / "study" / "stamp_seed1")

    def stop() -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    def kill() -> None:
        # The lock says who holds it: `process 12 on ...`.
        process = (stamp.path / ".lock").read_text().split()[1]
        os.kill(int(process), signal.SIGKILL)

    def go_on(watcher: Watcher) -> int:
        result = study(config, strategies=["stamp"], seeds=1, on_event=watcher)
        return result.signal

    stopped = Watcher("stamp_seed1", 0, stop)
    assert go_on(stopped) == signal.SIGTERM
    assert stopped.of(TrialFailed) == []
    assert stamp.read_summary() is None
    assert stamp.last.exists()
    killed = Watcher("stamp_seed1", 1, kill)
    assert go_on(killed) == 0
    (failure,) = killed.of(TrialFailed)
    assert "was killed, probably for want of memory" in str(failure)
    last = Watcher()
    assert go_on(last) == 0
    assert [event.trial for event in last.of(TrialDone)] == ["stamp_seed1"]
    expected = RunFolder(whole / "stamp_seed1")
    assert stamp.pruning_cases.read_bytes() == expected.pruning_cases.read_bytes()
    assert stamp.channels.read_bytes() == expected.channels.read_bytes()
    removed = [step.removed for step in stamp.read_pruning()]
    assert removed == [step.removed for step in expected.read_pruning()]


def test_what_fails_is_told_with_its_reason_and_the_others_go_on(tmp_path: Path) -> None:
    config = config_of(tmp_path, "pruning.steps=1")
    blocked = tmp_path / "study" / "stamp_seed1"
    blocked.mkdir(parents=True)
    (blocked / "notes.txt").touch()
    result = study(config, strategies=STRATEGIES, seeds=1, from_scratch=["unet_small_3f"], jobs=2)
    (failure,) = result.failures
    assert failure.trial == "stamp_seed1"
    assert "is not a run folder and holds other things (notes.txt)" in failure.message
    assert [row.trial for row in result.rows] == [
        "start_seed1",
        "random-in-layer_seed1",
        "random-in-layer_seed1",
        "unet_small_3f_seed1",
    ]


def test_what_starts_from_a_failure_does_not_begin(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    start = tmp_path / "study" / "start_seed1"
    start.mkdir(parents=True)
    (start / "best_model.pt").write_bytes(b"not a model")
    watcher = Watcher()
    result = study(config, strategies=["stamp"], seeds=1, on_event=watcher)
    first, second = result.failures
    assert first.trial == "start_seed1"
    assert "there is no such state to go on from" in first.message
    assert (second.trial, second.message) == (
        "stamp_seed1",
        "cannot begin, since start_seed1 failed",
    )
    assert result.rows == ()


@pytest.mark.parametrize(
    ("settings", "mistake"),
    [
        (["data.root=nowhere"], r"^data\.root|nowhere: there is no such folder"),
        (["pruning.min_parameters=30000"], r"^pruning\.min_parameters: 30,000, and the network"),
        (["pruning.channels_per_step=99"], r"^pruning\.channels_per_step: 99 is more than"),
    ],
)
def test_listing_trials_refuses_what_the_study_would(
    tmp_path: Path, settings: list[str], mistake: str
) -> None:
    config = config_of(tmp_path / "runs", *settings)
    for job in (list_trials, study):
        with pytest.raises(LunetError, match=mistake):
            job(config, strategies=["stamp"], seeds=1)
    assert not (tmp_path / "runs").exists()


def test_trials_that_have_finished_need_no_data(whole: Path) -> None:
    moved = config_of(whole.parent, "data.phantom.num_cases=6")
    for listed in list_trials(moved, strategies=STRATEGIES, seeds=1, from_scratch=BESIDE):
        assert listed.state == "finished"


def test_more_steps_go_on_with_a_study(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "study")
    settings = ("pruning.steps=3",)
    listed = list_trials(
        config_of(tmp_path, *settings), strategies=STRATEGIES, seeds=1, from_scratch=BESIDE
    )
    assert [trial.state for trial in listed] == ["finished", "begun", "begun", "finished"]
    result = study(
        config_of(tmp_path, *settings), strategies=STRATEGIES, seeds=1, from_scratch=BESIDE
    )
    assert result.failures == ()
    for name in STRATEGIES:
        assert len(RunFolder(tmp_path / "study" / f"{name}_seed1").read_pruning()) == 4


def test_a_study_that_runs_is_not_run_twice(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    with (
        hold_run(tmp_path / "study", lambda event: None),
        pytest.raises(OutputError, match=f"is being trained already, by process {os.getpid()}"),
    ):
        study(config, strategies=["stamp"], seeds=1)


@pytest.mark.parametrize(
    ("arguments", "mistake"),
    [
        ({"seeds": 0}, "`seeds`: 0 is too few"),
        ({"jobs": 0}, "`jobs`: 0 is too few"),
        ({"budget": 1.5}, "`budget`: 1.5 is not a share of the parameters"),
    ],
)
def test_impossible_numbers_are_told(
    tmp_path: Path, arguments: dict[str, float], mistake: str
) -> None:
    with pytest.raises(ConfigError, match=mistake):
        study(config_of(tmp_path), **arguments)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []
