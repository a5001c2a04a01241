"""`lunet shrink` as a person meets it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lunet_cli.config.options import BenchOptions
from lunet_cli.engine.benchmarking.benchmark import benchmark
from lunet_cli.engine.pruning import shrink
from lunet_cli.results.benchmarking import BenchResult

CallLunet = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(tmp_path: Path, trained_run: Path) -> Path:
    return Path(shutil.copytree(trained_run, tmp_path / "mine"))


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        (["mine", "--margin", "2"], "--margin: expected at most 1.0, found 2.0", ""),
        (["mine", "--name", "a/b"], "--name: expected a name of letters", ""),
        (
            ["mine", "--steps", "3"],
            "there is no option --steps",
            "Set a key of the configuration like this: --set pruning.steps=3",
        ),
        (
            ["mine", "--set", "pruning.margin=0.02"],
            "pruning.margin: is the option --margin here",
            "",
        ),
        ([], "missing argument 'RUN'", "All options: lunet shrink --help"),
    ],
)
def test_what_cannot_be_meant_ends_with_a_line(
    arguments: list[str], error: str, hint: str, run: Path, call_lunet: CallLunet
) -> None:
    done = call_lunet("shrink", *arguments, cwd=run.parent)
    assert (done.returncode, done.stdout) == (2, "")
    first, *others = done.stderr.splitlines()
    assert first.startswith(f"error: {error}")
    if hint:
        assert others == [f"hint:  {hint}"]


def test_what_is_not_a_training_is_told(run: Path, call_lunet: CallLunet) -> None:
    (run / "net.onnx").touch()
    done = call_lunet("shrink", run / "net.onnx", cwd=run.parent)
    assert done.returncode == 1
    assert done.stderr == (
        f"error: {run}/net.onnx: is a file, and its training is needed to go on with it\n"
        f"hint:  Name the run folder that it comes from, such as {run}\n"
    )


def _in_torch(options: BenchOptions, **more: Any) -> BenchResult:
    """Measure in PyTorch alone; that each runtime is built and tried is a test of the bench."""
    return benchmark(options.model_copy(update={"runtimes": ("torch",)}), **more)


def test_both_networks_stand_beside_each_other(
    run: Path, call_lunet: CallLunet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shrink, "benchmark", _in_torch)
    settings = ("--set", "pruning.channels_per_step=0.5", "--set", "pruning.steps=1")
    done = call_lunet("shrink", "mine", "--margin", "1", *settings, cwd=run.parent)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    rows = {line[:22].strip(): line[22:].split() for line in lines if line}
    # 22 layers of 4 channels: each can spare 3, and half of these go.
    assert rows["channels"] == ["88", "55", "1.6", "x", "less"]
    assert rows["parameters"][0] == "9,944"
    assert rows["batch of windows, ms"][3:] == ["x", "as", "fast"]
    assert "run folder mine_small" in lines
    assert "  lunet prune show mine_small" in lines
    assert max(map(len, lines)) <= 80
    again = call_lunet("shrink", "mine", cwd=run.parent)
    assert again.returncode == 1
    assert "mine_small: a run is here already" in again.stderr
    assert "--resume auto" in again.stderr


def test_nothing_to_remove_is_no_failure(run: Path, call_lunet: CallLunet) -> None:
    settings = ("--set", "pruning.channels_per_step=0.95", "--set", "pruning.recovery_batches=1")
    limits = ("--margin", "0.001", "--name", "tiny", "--set", "pruning.steps=1")
    done = call_lunet("shrink", "mine", *limits, *settings, cwd=run.parent)
    assert done.returncode == 0, done.stderr
    assert "Nothing could be removed: each smaller network may lose more" in done.stdout
    assert "lunet shrink mine --name tiny_2 --margin DICE" in done.stdout
    assert "warning: 2 validation cases: with fewer than 20" in done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_another_name_is_an_option_here(run: Path, call_lunet: CallLunet) -> None:
    shutil.copytree(run, run.with_name("mine_small"))
    done = call_lunet("shrink", "mine", cwd=run.parent)
    assert done.returncode == 1
    assert "Or start another: --name mine_small_2" in done.stderr
