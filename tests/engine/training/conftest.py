"""What the tests of the training share: a tiny run, undisturbed, and ways to disturb it."""

from __future__ import annotations

import csv
import shutil
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lunet_cli.config.load import dump_yaml, load_config
from lunet_cli.config.run import RunConfig
from lunet_cli.engine.checkpoints.checkpoint import load_checkpoint
from lunet_cli.engine.training.loop import Validation
from lunet_cli.engine.training.train import train
from lunet_cli.results.training import TrainResult

TINY = (
    "model.architecture=lunet_small_1f",
    "model.drop_prob=0.1",
    "data.phantom.num_cases=6",
    "data.phantom.size=32",
    "training.batch_size=2",
    "training.precision=fp32",
    "training.num_threads=1",
    "training.log_interval=1",
    "augmentation.enabled=true",
    "augmentation.flip_probability=0.5",
)


def tiny(output_dir: Path, name: str = "run", *more: str) -> RunConfig:
    settings = [*TINY, f"experiment.output_dir={output_dir}", f"experiment.name={name}", *more]
    return load_config(None, settings)


def history_without_times(run_dir: Path) -> list[dict[str, str]]:
    with (run_dir / "history.csv").open() as file:
        return [
            {k: v for k, v in row.items() if k != "epoch_seconds"} for row in csv.DictReader(file)
        ]


def assert_same_result(one: Path, other: Path) -> None:
    assert history_without_times(one) == history_without_times(other)
    for name in ("last.pt", "best_model.pt"):
        ours, theirs = load_checkpoint(one / name).weights, load_checkpoint(other / name).weights
        assert all(torch.equal(tensor, theirs[key]) for key, tensor in ours.items())


def write_yaml(config: RunConfig) -> Path:
    path = config.experiment.output_dir / f"{config.experiment.name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dump_yaml(config))
    return path


def train_in_subprocess(
    nursery: Any, config: RunConfig, *, kill_at: tuple[int, int], number: int, resume: str = ""
) -> int:
    """Train in a process that sends itself a signal after a step; return its exit code."""
    script = f"""
import os, signal, sys
from pathlib import Path
from lunet_cli.config.load import load_config
from lunet_cli.engine.training.train import train
from lunet_cli.results.training import StepDone
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whatever nohup wishes for the tests
def on_event(event):
    if isinstance(event, StepDone) and (event.epoch, event.step) == {kill_at}:
        os.kill(os.getpid(), {number})
result = train(load_config(Path(sys.argv[1])), resume={resume!r} or None, on_event=on_event)
print(result.outcome, result.signal)
"""
    process = nursery.start(write_yaml(config), code=script)
    stdout, stderr = process.communicate()
    if process.returncode == 0:
        assert stdout.split() == ["interrupted", str(number)], stdout + stderr
    return int(process.returncode)


def copy_of(run: Path, to: Path) -> Path:
    shutil.copytree(run, to)
    return to


def set_validation(monkeypatch: pytest.MonkeyPatch, *validations: Validation) -> None:
    """Let these be what the next validations find."""
    left = iter(validations)
    monkeypatch.setattr(
        sys.modules["lunet_cli.engine.training.train"], "validate", lambda *_: next(left)
    )


def found(dice: float, loss: float = 1.0) -> Validation:
    labels = ("anterior", "posterior", "ventricle")
    return Validation(loss, {"case": dict.fromkeys(labels, dice)})


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    """Six epochs without disturbance."""
    folder = tmp_path_factory.mktemp("whole")
    return train(tiny(folder, "whole", "training.epochs=6", "training.checkpoint.save_every=3"))


@pytest.fixture(scope="session")
def runs(nursery: Any) -> SimpleNamespace:
    """The helpers above, since test files do not import each other."""
    return SimpleNamespace(
        tiny=tiny,
        history_without_times=history_without_times,
        assert_same_result=assert_same_result,
        write_yaml=write_yaml,
        train_in_subprocess=partial(train_in_subprocess, nursery),
        copy_of=copy_of,
        set_validation=set_validation,
        found=found,
    )
