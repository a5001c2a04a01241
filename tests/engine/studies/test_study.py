"""Real studies of tiny networks, shared by processes that are killed on the way."""

from __future__ import annotations

import csv
import multiprocessing
import os
import signal
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lunet_cli.config.options import StudyOptions
from lunet_cli.config.run import RunConfig
from lunet_cli.engine.process_context import process_context
from lunet_cli.engine.run_folder import RunFolder
from lunet_cli.engine.run_lock import hold_run
from lunet_cli.engine.studies import trial_processes
from lunet_cli.engine.studies.failures import FailureNotes
from lunet_cli.engine.studies.plan import CLAIMS
from lunet_cli.engine.studies.study import list_trainings, study
from lunet_cli.engine.studies.trial_processes import TRIAL_MODULES
from lunet_cli.errors import ConfigError, LunetError, OutputError
from lunet_cli.records.comparison import ComparisonRecord
from lunet_cli.records.evaluation import read_evaluation
from lunet_cli.results.events import Event
from lunet_cli.results.studies import TrialDone, TrialFailed, TrialMoved, TrialStarted
from lunet_cli.results.training_studies import TrainingStudy

MakeConfig = Callable[..., RunConfig]
QUICK = StudyOptions(latency=False)
NETWORKS = {"model.architecture": ["lunet_small_1f", "unet_small_1f"]}


@dataclass
class Watcher:
    """Notes events, and acts once when a training is first heard of."""

    act: Callable[[str], None] = lambda name: None
    events: list[Event] = field(default_factory=list)
    has_acted: bool = False

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, TrialMoved) and not self.has_acted:
            self.has_acted = True
            self.act(event.trial)

    def of(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, tiny_config: MakeConfig) -> TrainingStudy:
    """Two networks with three seeds, which one process has trained undisturbed."""
    place = tmp_path_factory.mktemp("whole")
    watcher = Watcher()
    found = study(tiny_config(place), vary=NETWORKS, options=QUICK, on_event=watcher)
    assert found.failures == ()
    assert found.unfinished == ()
    assert len(watcher.of(TrialDone)) == 6
    return found


def share(config: RunConfig, log: Path, flag: Path, *, is_mortal: bool) -> None:
    """Work on a study in a process of its own.

    A mortal one is killed in the middle of its first training; others begin a second one only once
    that has happened often enough.
    """
    lines = log.open("a", buffering=1)
    # This process has PyTorch already, and no threads: a server of its own would load all again.
    trial_processes.process_context = lambda *_, **__: multiprocessing.get_context("fork")

    def tell(event: Event) -> None:
        if isinstance(event, TrialDone | TrialFailed):
            lines.write(f"{event}\n")
        if isinstance(event, TrialDone):
            while not flag.exists():
                time.sleep(0.05)
        if is_mortal and isinstance(event, TrialMoved):
            lines.write("killed\n")
            os.kill(os.getpid(), signal.SIGKILL)

    found = study(config, vary=NETWORKS, options=QUICK, on_event=tell)
    lines.write(f"{len(found.trials)} trials, {len(found.unfinished)} unfinished\n")


def test_three_processes_of_which_one_is_killed_twice_lose_nothing(
    whole: TrainingStudy, tmp_path: Path, tiny_config: MakeConfig
) -> None:
    config, flag = tiny_config(tmp_path), tmp_path / "flag"
    context: Any = process_context([], preloaded=TRIAL_MODULES)

    def start(name: str, *, is_mortal: bool = False) -> Any:
        log = tmp_path / f"{name}.log"
        process = context.Process(target=partial(share, config, log, flag, is_mortal=is_mortal))
        process.start()
        return process

    # All begin at the same instant, with the same training in sight.
    first, second, mortal = start("first"), start("second"), start("mortal", is_mortal=True)
    mortal.join(200)
    assert mortal.exitcode == -signal.SIGKILL
    mortal = start("mortal", is_mortal=True)
    mortal.join(200)
    assert mortal.exitcode == -signal.SIGKILL
    flag.touch()
    last = start("mortal")
    for process in (first, second, last):
        process.join(200)
        assert process.exitcode == 0
    logs = {path.stem: path.read_text().splitlines() for path in tmp_path.glob("*.log")}
    assert logs["mortal"][:2] == ["killed", "killed"]
    # Each process has waited for the others, and has found the same.
    assert {lines[-1] for lines in logs.values()} == {"6 trials, 0 unfinished"}
    finished: list[str] = []
    for lines in logs.values():
        finished += [line.partition(":")[0] for line in lines if "finished in" in line]
    assert len(finished) == len(set(finished))
    ours = tmp_path / "study"
    assert (ours / "study.csv").read_bytes() == (whole.folder / "study.csv").read_bytes()
    for trial in whole.trials:
        log = (ours / trial.trial / "train.log").read_text()
        assert [log.count(f" epoch {epoch}/2 ") for epoch in (1, 2)] == [1, 1]
        table = Path(trial.trial) / "eval" / "val" / "metrics.csv"
        assert (ours / table).read_bytes() == (whole.folder / table).read_bytes()


def test_what_has_ended_is_not_done_again(whole: TrainingStudy, tiny_config: MakeConfig) -> None:
    config = tiny_config(whole.folder.parent)
    watcher = Watcher()
    again = study(config, vary=NETWORKS, options=QUICK, on_event=watcher)
    assert watcher.events == []
    assert again == whole
    assert {run.state for run in list_trainings(config, vary=NETWORKS)} == {"finished"}
    # Further values and seeds join what is there.
    more = {"model.architecture": ["lunet_small_1f", "unet_small_1f", "unet_small_2f"]}
    wider = tiny_config(whole.folder.parent, "study.seeds=4")
    states = [run.state for run in list_trainings(wider, vary=more)]
    assert (states.count("finished"), states.count("new")) == (6, 6)


def test_another_configuration_is_refused(whole: TrainingStudy, tiny_config: MakeConfig) -> None:
    config = tiny_config(whole.folder.parent, "training.epochs=3", "data.num_workers=1")
    for job in (study, list_trainings):
        with pytest.raises(
            ConfigError, match=r"was begun with training\.epochs 2 and not 3"
        ) as told:
            job(config, vary=NETWORKS)
        assert len(told.value.lines) == 6


def test_means_and_differences_are_those_of_the_tables(whole: TrainingStudy) -> None:
    lean, wide = whole.variants
    values: dict[str, list[list[float]]] = {}
    for trial in whole.trials:
        with (whole.folder / trial.trial / "eval" / "val" / "metrics.csv").open() as file:
            rows = list(csv.DictReader(file))
        by_case: dict[str, list[float]] = {}
        for row in rows:
            by_case.setdefault(row["case"], []).append(float(row["dice"]))
        means = [statistics.fmean(labels) for _, labels in sorted(by_case.items())]
        assert trial.value == pytest.approx(statistics.fmean(means), abs=1e-12)
        values.setdefault(trial.variant, []).append(means)
    of_seeds = [statistics.fmean(means) for means in values[lean.variant]]
    assert lean.value.mean == pytest.approx(statistics.fmean(of_seeds))
    assert (lean.value.low, lean.value.high) == (min(of_seeds), max(of_seeds))
    assert wide.change is not None
    assert wide.change.mean == pytest.approx(wide.value.mean - lean.value.mean, abs=1e-12)
    assert (lean.change, wide.change.num_seeds, whole.num_left_out) == (None, 3, 0)
    # FACTS of the presets, with three labels and the background in the place of one channel.
    assert (lean.parameters, wide.parameters) == (686 + 3 * 2, 22_362 + 3 * 2)
    record = ComparisonRecord.read(RunFolder(whole.folder).comparison)
    assert [run.run for run in record.runs] == ["lunet_small_1f", "unet_small_1f"]


def test_killed_trainings_are_told_and_tried_again_by_the_next_start(
    tmp_path: Path, tiny_config: MakeConfig
) -> None:
    config = tiny_config(tmp_path, "study.seeds=1")
    claim = tmp_path / "study" / CLAIMS / "lunet_small_1f_seed1"

    def kill(name: str) -> None:
        # The lock says who holds it: `process 12 on ...`.
        os.kill(int((claim / ".lock").read_text().split()[1]), signal.SIGKILL)

    watcher = Watcher(kill)
    found = study(config, options=QUICK, on_event=watcher)
    (failure,) = found.failures
    assert "was killed, probably for want of memory" in failure.message
    assert (found.trials, found.unfinished) == ((), ())
    assert [run.state for run in list_trainings(config)] == ["begun"]
    notes = FailureNotes(claim.parent)
    assert notes.new(claim.name) is None  # It is of an earlier session.

    def stop(name: str) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    stopped = study(config, options=QUICK, on_event=Watcher(stop))
    assert (stopped.signal, stopped.failures) == (signal.SIGINT, ())
    assert stopped.unfinished in (("lunet_small_1f_seed1",), ())
    last = Watcher()
    again = study(config, options=QUICK, on_event=last)
    assert (len(again.trials), again.failures) == (1, ())
    assert notes.new(claim.name) is None


def test_what_fails_elsewhere_is_not_tried_in_vain(tmp_path: Path, tiny_config: MakeConfig) -> None:
    config = tiny_config(tmp_path, "study.seeds=2")
    blocked = tmp_path / "study" / "lunet_small_1f_seed1"
    blocked.mkdir(parents=True)
    (blocked / "notes.txt").touch()
    other = FailureNotes(tmp_path / "study" / CLAIMS)
    watcher = Watcher()
    found = study(config, options=QUICK, on_event=watcher)
    (failure,) = found.failures
    assert failure.trial == "lunet_small_1f_seed1"
    assert "is not a run folder and holds other things (notes.txt)" in failure.message
    assert [trial.trial for trial in found.trials] == ["lunet_small_1f_seed2"]
    # Another process, which began before, does not try it too.
    assert other.new("lunet_small_1f_seed1") == failure
    (blocked / "notes.txt").unlink()
    assert study(config, options=QUICK).failures == ()


def test_a_training_that_another_process_holds_is_left_alone(
    tmp_path: Path, tiny_config: MakeConfig
) -> None:
    config = tiny_config(tmp_path, "study.seeds=1")
    held = tmp_path / "study" / CLAIMS / "lunet_small_1f_seed1"
    watcher = Watcher()
    with hold_run(held, lambda event: None):
        (run,) = list_trainings(config)
        options = StudyOptions(latency=False, wait=False)
        found = study(config, options=options, on_event=watcher)
    assert run.state == "running"
    assert (found.unfinished, watcher.events) == (("lunet_small_1f_seed1",), [])


def test_folds_are_trained_one_by_one_and_pooled(tmp_path: Path, tiny_config: MakeConfig) -> None:
    config = tiny_config(
        tmp_path, "study.seeds=1", "study.fold=all", "data.split.num_folds=2", "training.epochs=1"
    )
    watcher = Watcher()
    found = study(config, options=QUICK, on_event=watcher)
    assert [event.trial for event in watcher.of(TrialStarted)] == [  # type: ignore[attr-defined]
        "lunet_small_1f_seed1/fold_0",
        "lunet_small_1f_seed1/fold_1",
    ]
    (trial,) = found.trials
    assert (trial.num_folds, trial.num_cases) == (2, 6)
    folder = RunFolder(found.folder / "lunet_small_1f_seed1")
    assert [path.name for path in folder.folds] == ["fold_0", "fold_1"]
    pooled = read_evaluation(folder.path)
    assert len({score.case for score in pooled.scores}) == 6


@pytest.mark.parametrize(
    ("settings", "options", "mistake"),
    [
        (["data.root=nowhere"], {}, "nowhere: there is no such folder"),
        (["training.checkpoint.keep_best=false"], {}, "compares the best models"),
        (["study.stop_hopeless=true"], {}, "`study.stop_hopeless`: is for a search"),
        ([], {"storage": "sqlite://"}, "`storage`: is for a search"),
        (["study.vary={training.lerning_rate: [1]}"], {}, "unknown key. Did you mean 'learning_r"),
        (["study.vary={experiment.seed: [1, 2]}"], {}, "cannot vary"),
    ],
)
def test_what_cannot_work_is_told_before_anything_is_written(
    tmp_path: Path,
    tiny_config: MakeConfig,
    settings: list[str],
    options: dict[str, Any],
    mistake: str,
) -> None:
    config = tiny_config(tmp_path / "runs", *settings)
    for job in (study, list_trainings):
        with pytest.raises(LunetError, match=mistake):
            job(config, options=StudyOptions(**options))
    assert not (tmp_path / "runs").exists()


def test_it_is_not_for_launchers_nor_for_the_folder_of_a_training(
    tmp_path: Path, tiny_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config(tmp_path)
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "last.pt").touch()
    with pytest.raises(OutputError, match="is the folder of one training"):
        study(config)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="has started several processes for one training"):
        study(config)
