from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from lunet_cli.config.run import RunConfig
from lunet_cli.engine.training.tracking import WandbMirror
from lunet_cli.results.events import Notice
from lunet_cli.results.training import EpochDone, EpochRecord

ENABLED = RunConfig.model_validate({"wandb": {"enabled": True, "project": "p", "mode": "offline"}})
RECORD = EpochRecord(3, 0.5, 0.6, 0.7, {"a": 0.65, "b": 0.75}, 0.01, 2.0)
EPOCH = EpochDone(RECORD, num_epochs=10, is_best=True, seconds_left=1.0)


class FakeWandb(ModuleType):
    def __init__(self, failing: str = "") -> None:
        super().__init__("wandb")
        self.failing = failing
        self.calls: list[tuple[str, Any]] = []

    def note(self, name: str, value: Any) -> None:
        self.calls.append((name, value))
        if name == self.failing:
            raise OSError("no route to host")

    def init(self, **options: Any) -> SimpleNamespace:
        self.note("init", options)
        return SimpleNamespace(
            log=lambda values, step: self.note("log", (step, values)),
            finish=lambda: self.note("finish", None),
        )

    def Settings(self, **options: Any) -> dict[str, Any]:  # noqa: N802
        return options


def install(monkeypatch: pytest.MonkeyPatch, failing: str = "") -> FakeWandb:
    wandb = FakeWandb(failing)
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    return wandb


@pytest.mark.parametrize(
    "values",
    [{}, {"enabled": False, "mode": "online"}, {"enabled": True, "mode": "disabled"}],
    ids=str,
)
def test_nothing_is_imported_unless_asked_for(
    values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)  # any import of it raises
    problems: list[str] = []
    mirror = WandbMirror(RunConfig.model_validate({"wandb": values}), tmp_path, problems.append)
    mirror(EPOCH)
    mirror.close()
    assert problems == []


def test_a_missing_package_is_one_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    problems: list[str] = []
    mirror = WandbMirror(ENABLED, tmp_path, problems.append)
    mirror(EPOCH)
    mirror.close()
    assert problems == [
        "wandb.enabled is true, but wandb is not installed: pip install 'lunet[wandb]'"
    ]


def test_a_broken_package_is_one_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "wandb.py").write_text("raise TypeError('Descriptors cannot be created directly')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    problems: list[str] = []
    mirror = WandbMirror(ENABLED, tmp_path, problems.append)
    mirror(EPOCH)
    mirror.close()
    assert len(problems) == 1
    assert "Descriptors cannot be created directly" in problems[0]


def test_epochs_are_mirrored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = install(monkeypatch)
    problems: list[str] = []
    mirror = WandbMirror(ENABLED, tmp_path, problems.append)
    mirror(Notice("not an epoch"))
    mirror(EPOCH)
    mirror.close()
    assert problems == []
    assert [name for name, _ in wandb.calls] == ["init", "log", "finish"]
    options = wandb.calls[0][1]
    assert (options["project"], options["mode"], options["dir"]) == ("p", "offline", str(tmp_path))
    assert options["config"]["training"]["epochs"] == ENABLED.training.epochs
    assert wandb.calls[1][1] == (
        3,
        {
            "train_loss": 0.5,
            "val_loss": 0.6,
            "val_dice": 0.7,
            "learning_rate": 0.01,
            "val_dice/a": 0.65,
            "val_dice/b": 0.75,
        },
    )


@pytest.mark.parametrize(
    ("failing", "calls"),
    [
        ("init", ["init"]),
        ("log", ["init", "log"]),
        ("finish", ["init", "log", "log", "finish"]),
    ],
)
def test_a_failure_is_one_problem_and_ends_the_mirror(
    failing: str, calls: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb = install(monkeypatch, failing)
    problems: list[str] = []
    mirror = WandbMirror(ENABLED, tmp_path, problems.append)
    mirror(EPOCH)
    mirror(EPOCH)
    mirror.close()
    mirror.close()
    assert [name for name, _ in wandb.calls] == calls
    assert len(problems) == 1
    assert "no route to host" in problems[0]
