from __future__ import annotations

import json
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from lunet_cli.config.run import RunConfig
from lunet_cli.engine.run_folder import RunFolder
from lunet_cli.engine.training import tracking
from lunet_cli.engine.training.trackers import Ending, Point, Service, TrackedRun
from lunet_cli.engine.training.tracking import Tracking, points_of
from lunet_cli.engine.training.train import train
from lunet_cli.results.events import Event, Notice, WarningIssued
from lunet_cli.results.training import EpochDone, EpochRecord, StepDone

SECTIONS = {"wandb": "wandb", "tensorboard": "torch.utils.tensorboard", "mlflow": "mlflow"}
TITLES = {"wandb": "Weights & Biases", "tensorboard": "TensorBoard", "mlflow": "MLflow"}
NAN = float("nan")


def record(epoch: int, *, validated: bool = True) -> EpochRecord:
    if not validated:
        return EpochRecord(epoch, 1 / epoch, NAN, NAN, {"a": NAN, "A+": NAN, "A-": NAN}, 0.01, 2.0)
    dice = {"a": 0.65, "A+": 0.75, "A-": 0.5}
    return EpochRecord(epoch, 1 / epoch, 0.6, 0.7, dice, 0.01, 2.0)


def done(epoch: int, *, validated: bool = True) -> EpochDone:
    found = record(epoch, validated=validated)
    return EpochDone(found, num_epochs=10, is_best=True, seconds_left=1.0)


def enabled(section: str, **more: Any) -> RunConfig:
    return RunConfig.model_validate({section: {"enabled": True, **more}})


def track(
    config: RunConfig,
    folder: Path,
    epochs: Sequence[int],
    *,
    history: Sequence[EpochRecord] = (),
    ending: Ending = "finished",
) -> list[Event]:
    """Show these epochs, the second of which was not validated; return what is reported."""
    events: list[Event] = []
    with Tracking(config, RunFolder(folder), history, events.append) as shown:
        for epoch in epochs:
            shown.show(done(epoch, validated=epoch != 2))
        shown.ending = ending
    return events


def warnings_in(events: Sequence[Event]) -> list[str]:
    return [event.text for event in events if isinstance(event, WarningIssued)]


class FakeWandb(ModuleType):
    def __init__(self, failing: str = "", starting_step: int = 0) -> None:
        super().__init__("wandb")
        self.failing = failing
        self.starting_step = starting_step
        self.calls: list[tuple[str, Any]] = []

    def note(self, name: str, value: Any) -> None:
        self.calls.append((name, value))
        if name == self.failing:
            raise OSError("no route to host")

    def init(self, **options: Any) -> SimpleNamespace:
        self.note("init", options)
        return SimpleNamespace(
            url="https://example.org/run",
            dir=f"{options['dir']}/wandb/offline-run-1/files",
            starting_step=self.starting_step,
            log=lambda values, step: self.note("log", (step, values)),
            finish=lambda exit_code: self.note("finish", exit_code),
        )

    def Settings(self, **options: Any) -> dict[str, Any]:  # noqa: N802
        return options


def install(monkeypatch: pytest.MonkeyPatch, fake: FakeWandb) -> FakeWandb:
    monkeypatch.setitem(sys.modules, "wandb", fake)
    return fake


@pytest.mark.parametrize(
    "values",
    [{}, {"wandb": {"enabled": False, "mode": "online"}},
     {"wandb": {"enabled": True, "mode": "disabled"}}],
    ids=str,
)  # fmt: skip
def test_nothing_is_imported_unless_asked_for(
    values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in SECTIONS.values():
        monkeypatch.setitem(sys.modules, module, None)  # any import of it raises
    threads = threading.active_count()
    assert track(RunConfig.model_validate(values), tmp_path, [1]) == []
    assert threading.active_count() == threads
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("section", SECTIONS)
def test_a_missing_package_is_one_problem(
    section: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, SECTIONS[section], None)
    assert warnings_in(track(enabled(section), tmp_path, [1, 2])) == [
        f"{section}.enabled is true, but {section} is not installed: pip install 'lunet[{section}]'"
    ]


@pytest.mark.parametrize("section", ["wandb", "mlflow"])
def test_a_broken_package_is_one_problem(
    section: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = "raise TypeError('Descriptors cannot be created directly')"
    (tmp_path / f"{section}.py").write_text(broken)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, section, raising=False)
    (problem,) = warnings_in(track(enabled(section), tmp_path, [1, 2]))
    assert problem.startswith(f"{TITLES[section]} is left out from here on: TypeError")
    assert "Descriptors cannot be created directly" in problem


def test_wandb_gets_the_columns_of_the_history(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb = install(monkeypatch, FakeWandb())
    config = enabled("wandb", project="p", mode="offline")
    (notice,) = track(config, tmp_path, [1, 2])
    shown = f"Weights & Biases shows this run: after `wandb sync {tmp_path}/wandb/offline-run-1`"
    assert notice == Notice(shown)
    assert [name for name, _ in wandb.calls] == ["init", "log", "log", "finish"]
    options = wandb.calls[0][1]
    assert (options["project"], options["mode"], options["dir"]) == ("p", "offline", str(tmp_path))
    assert options["config"]["training"]["epochs"] == config.training.epochs
    values = {"train_loss": 1.0, "val_loss": 0.6, "val_dice": 0.7, "learning_rate": 0.01,
              "val_dice_a": 0.65, "val_dice_A_": 0.75, "val_dice_A__3": 0.5}  # fmt: skip
    assert wandb.calls[1][1] == (1, values)
    assert wandb.calls[2][1] == (2, {"train_loss": 0.5, "learning_rate": 0.01})
    assert wandb.calls[3][1] == 0


def test_wandb_goes_on_with_the_run_and_after_its_last_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = enabled("wandb")
    first = install(monkeypatch, FakeWandb())
    assert track(config, tmp_path, [1, 2], ending="failed")[0] == Notice(
        "Weights & Biases shows this run: https://example.org/run"
    )
    second = install(monkeypatch, FakeWandb(starting_step=3))
    track(config, tmp_path, [3], history=[record(1), record(2)])
    began, went_on = first.calls[0][1], second.calls[0][1]
    assert began["id"] == went_on["id"] == json.loads(text(tmp_path / "tracking.json"))["wandb"]
    assert began["resume"] == went_on["resume"] == "allow"
    assert [value[0] for name, value in second.calls if name == "log"] == [3]
    assert (first.calls[-1], second.calls[-1]) == (("finish", 1), ("finish", 0))


def text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("failing", "calls"),
    [("init", ["init"]), ("log", ["init", "log"]), ("finish", ["init", "log", "log", "finish"])],
)
def test_a_failure_is_one_problem_and_ends_the_mirror(
    failing: str, calls: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb = install(monkeypatch, FakeWandb(failing))
    (problem,) = warnings_in(track(enabled("wandb"), tmp_path, [1, 2]))
    assert [name for name, _ in wandb.calls] == calls
    assert "no route to host" in problem


def test_a_damaged_file_of_names_is_one_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, FakeWandb())
    (tmp_path / "tracking.json").write_text("{")
    (problem,) = warnings_in(track(enabled("wandb"), tmp_path, [1]))
    assert problem.startswith(f"Weights & Biases is left out from here on: {tmp_path}/tracking")


def test_a_service_that_does_not_answer_keeps_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wakes = threading.Event()

    def hang(_run: TrackedRun) -> Any:
        wakes.wait()
        raise OSError("an answer of\n" + "many lines " * 100)

    hanging = Service("wandb", "W", "json", hang)
    monkeypatch.setattr(tracking, "SERVICES", (hanging,))
    monkeypatch.setattr(tracking, "GRACE_S", 0.05)
    start = time.monotonic()
    events = track(enabled("wandb"), tmp_path, range(1, 1000))
    assert time.monotonic() - start < 5
    wakes.set()
    assert warnings_in(events) == [
        "W is left out from here on: it has not taken everything within 0.05 s"
    ]


def test_a_long_answer_is_cut_and_put_into_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_run: TrackedRun) -> Any:
        raise OSError("an answer of\n" + "many words " * 100)

    monkeypatch.setattr(tracking, "SERVICES", (Service("wandb", "W", "json", refuse),))
    (problem,) = warnings_in(track(enabled("wandb"), tmp_path, [1]))
    assert len(problem) < 400
    assert "\n" not in problem


def test_events_come_in_the_thread_of_the_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, FakeWandb("log"))
    threads = []
    report = threads.append
    config = enabled("wandb")
    with Tracking(config, RunFolder(tmp_path), [], lambda _: report(threading.get_ident())) as all_:
        all_.show(done(1))
    assert set(threads) == {threading.get_ident()}
    assert len(threads) == 2


def test_times_of_earlier_epochs_follow_from_their_durations() -> None:
    shown = points_of([record(1), record(2), record(3)], end=100.0)
    assert [(point.epoch, point.time) for point in shown] == [(1, 96.0), (2, 98.0), (3, 100.0)]
    assert points_of([], end=100.0) == []


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(folder)).Reload()
    found = {}
    for tag in events.Tags()["scalars"]:
        found[tag] = [(event.step, event.value) for event in events.Scalars(tag)]
    return found


def test_tensorboard_shows_each_epoch_once_when_a_run_goes_on(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    config = enabled("tensorboard")
    other = tmp_path / "events.out.tfevents.1.host.of.others"
    other.touch()
    track(config, tmp_path, [1, 2])
    # Killed after the third epoch was saved, and before it was shown.
    assert track(config, tmp_path, [4], history=[record(1), record(2, validated=False), record(3)])
    assert other.exists()
    other.unlink()
    assert len(list(tmp_path.glob("events.*"))) == 1
    shown = scalars(tmp_path)
    assert set(shown) == {"train_loss", "learning_rate", "val_loss", "val_dice", "val_dice_a",
                          "val_dice_A_", "val_dice_A__3"}  # fmt: skip
    assert shown["train_loss"] == [(n, pytest.approx(1 / n)) for n in (1, 2, 3, 4)]
    assert shown["val_dice_a"] == [(n, pytest.approx(0.65)) for n in (1, 3, 4)]


def test_tensorboard_has_the_history_of_an_interrupted_training(runs: Any, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    config = runs.tiny(tmp_path, "run", "training.epochs=3", "tensorboard.enabled=true")
    stop = StopAt(epoch=2)
    assert train(config, on_event=stop).outcome == "interrupted"
    assert train(config, resume="auto").outcome == "finished"
    rows = runs.history_without_times(tmp_path / "run")
    shown = scalars(tmp_path / "run")
    assert len(rows) == 3
    for name, points in shown.items():
        assert points == [
            (int(row["epoch"]), pytest.approx(float(row[name]), abs=1e-6)) for row in rows
        ]


class StopAt:
    """Ctrl-C in an epoch."""

    def __init__(self, epoch: int) -> None:
        self._epoch = epoch

    def __call__(self, event: Event) -> None:
        if isinstance(event, StepDone) and event.epoch == self._epoch:
            signal.raise_signal(signal.SIGINT)
            self._epoch = 0


@pytest.fixture
def mlflow_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A client of MLflow with a store in a folder, and whose answers are those of a server."""
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file:{tmp_path}/store")
    return mlflow.MlflowClient(f"file:{tmp_path}/store")


def mlflow_run(folder: Path) -> str:
    return str(json.loads(text(folder / "tracking.json"))["mlflow"])


def test_mlflow_goes_on_with_the_run(tmp_path: Path, mlflow_client: Any) -> None:
    config, folder = enabled("mlflow", experiment="e"), tmp_path / "run"
    folder.mkdir()
    (notice,) = track(config, folder, [1, 2], ending="interrupted")
    name = mlflow_run(folder)
    assert str(notice).startswith(f"MLflow shows this run: run {name} of the experiment e at file:")
    assert mlflow_client.get_run(name).info.status == "KILLED"
    # Killed after the third epoch was saved, and before it was shown.
    track(config, folder, [4], history=[record(1), record(2, validated=False), record(3)])
    assert mlflow_run(folder) == name
    run = mlflow_client.get_run(name)
    assert (run.info.status, run.info.run_name) == ("FINISHED", config.experiment.name)
    assert run.data.params["training.epochs"] == str(config.training.epochs)
    assert run.data.params["model.architecture"] == config.model.architecture
    assert steps(mlflow_client, name, "train_loss") == [(n, 1 / n) for n in (1, 2, 3, 4)]
    assert steps(mlflow_client, name, "val_dice_A__3") == [(n, 0.5) for n in (1, 3, 4)]


def steps(client: Any, run: str, metric: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in client.get_metric_history(run, metric)]


def test_mlflow_begins_anew_where_the_run_was_deleted(tmp_path: Path, mlflow_client: Any) -> None:
    config = enabled("mlflow")
    track(config, tmp_path, [1])
    first = mlflow_run(tmp_path)
    mlflow_client.delete_run(first)
    track(config, tmp_path, [2], history=[record(1)], ending="failed")
    second = mlflow_run(tmp_path)
    assert second != first
    assert [step for step, _ in steps(mlflow_client, second, "train_loss")] == [1, 2]
    assert mlflow_client.get_run(second).info.status == "FAILED"


def test_mlflow_takes_a_long_history_in_parts(
    tmp_path: Path, mlflow_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lunet_cli.engine.training.trackers._MOST_METRICS", 16)
    track(enabled("mlflow"), tmp_path, [8], history=[record(n) for n in range(1, 8)])
    shown = steps(mlflow_client, mlflow_run(tmp_path), "val_loss")
    assert [step for step, _ in shown] == [*range(1, 9)]


def test_a_point_keeps_the_columns_of_its_epoch() -> None:
    (point,) = points_of([record(5, validated=False)], end=1.0)
    assert point == Point(5, {"train_loss": 0.2, "learning_rate": 0.01}, 1.0)
