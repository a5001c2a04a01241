"""`lunet study` as a person meets it; trainings that run are in the tests of the engine."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lunet_cli.config.load import load_config
from lunet_cli.engine.studies import study as job
from lunet_cli.engine.studies.plan import CLAIMS, Planner
from lunet_cli.engine.studies.study import with_vary
from lunet_cli.results.studies import TrialFailed

CallLunet = Callable[..., "subprocess.CompletedProcess[str]"]
NETWORKS = "model.architecture=lunet_small_1f,unet_small_1f"
STUDY = ("study", "quickstart", "--set", "experiment.name=mine", "--vary", NETWORKS)


@pytest.fixture
def finished(tmp_path: Path, write_studied: Any) -> Path:
    """The place of a study whose trainings have all ended."""
    settings = ["experiment.name=mine", f"experiment.output_dir={tmp_path / 'runs'}"]
    config = load_config("quickstart", [*settings, "study.seeds=2"])
    vary = {"model.architecture": ["lunet_small_1f", "unet_small_1f"]}
    lean, wide = Planner(with_vary(config, vary)).grid()
    for run in lean.runs:
        write_studied(run, {"a": 0.5, "b": 0.6})
    for run in wide.runs:
        write_studied(run, {"a": 0.75, "b": 0.85}, parameters=22_362, flops=2 * 10**9)
    return tmp_path


def test_a_dry_run_lists_the_trainings(tmp_path: Path, call_lunet: CallLunet) -> None:
    done = call_lunet(*STUDY, "--seeds", "2", "--dry-run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    title, _, *runs = done.stdout.splitlines()
    assert title == "4 trainings, 4 of them to do: dry run, nothing was written"
    assert [line.split() for line in runs[:4]] == [
        ["lunet_small_1f_seed1", "lunet_small_1f", "to", "do"],
        ["unet_small_1f_seed1", "unet_small_1f", "to", "do"],
        ["lunet_small_1f_seed2", "lunet_small_1f", "to", "do"],
        ["unet_small_1f_seed2", "unet_small_1f", "to", "do"],
    ]
    assert list(tmp_path.iterdir()) == []


def test_the_shipped_table_of_the_paper_has_every_preset(
    tmp_path: Path, call_lunet: CallLunet
) -> None:
    done = call_lunet("study", "paper_table", "--seeds", "1", "--dry-run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("29 trainings, 29 of them to do")


def test_what_has_ended_becomes_tables_a_picture_and_a_page(
    finished: Path, call_lunet: CallLunet
) -> None:
    command = (*STUDY, "--seeds", "2", "--no-latency")
    done = call_lunet(*command, cwd=finished)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert "2 combinations, 4 trainings, 2 cases" in done.stdout
    lean = ["lunet_small_1f", "686", "*", "1.000", "*", "0.5500", "0.5500-0.5500"]
    wide = ["unet_small_1f", "22,362", "*", "2.000", "*", "0.8000", "0.8000-0.8000"]
    assert lean in lines
    assert wide in lines
    difference = "unet_small_1f +0.2500 +0.2500 to +0.2500 0.5000 2 x 2"
    assert difference.split() in lines
    folder = finished / "runs" / "mine"
    assert (folder / "pareto.png").read_bytes().startswith(b"\x89PNG")
    page = (folder / "study.html").read_text()
    for text in ("<td>22,362</td>", "<td>+0.2500</td>", "data:image/png;base64,", "--no-latency"):
        assert text in page
    assert "http://" not in page
    assert "https://" not in page
    drawn = call_lunet("viz", "pareto", str(folder / "comparison.json"), cwd=finished)
    assert drawn.returncode == 0
    assert "unet_small_1f" in drawn.stdout


def test_json_is_for_scripts(finished: Path, call_lunet: CallLunet) -> None:
    done = call_lunet(*STUDY, "--seeds", "2", "--no-latency", "--json", cwd=finished)
    found = json.loads(done.stdout)
    assert [row["variant"] for row in found["variants"]] == ["lunet_small_1f", "unet_small_1f"]
    assert found["variants"][1]["change"]["mean"] == pytest.approx(0.25)


def test_no_wait_ends_with_what_there_is(finished: Path, call_lunet: CallLunet) -> None:
    from lunet_cli.engine.run_lock import hold_run

    held = finished / "runs" / "mine" / CLAIMS / "unet_small_1f_seed2"
    (finished / "runs" / "mine" / "unet_small_1f_seed2" / "training.json").unlink()
    with hold_run(held, lambda event: None):
        done = call_lunet(*STUDY, "--seeds", "2", "--no-wait", cwd=finished)
    assert done.returncode == 0, done.stderr
    assert "1 training not finished yet." in done.stdout
    assert "2 combinations, 3 trainings, 2 cases" in done.stdout


def test_a_training_that_failed_is_told_at_the_end(
    finished: Path, call_lunet: CallLunet, monkeypatch: pytest.MonkeyPatch
) -> None:
    failure = TrialFailed("unet_small_1f_seed2", "the loss is nan", "Set `training.epochs=3`")
    _change_result(monkeypatch, failures=(failure,))
    done = call_lunet(*STUDY, "--seeds", "2", "--no-latency", cwd=finished)
    assert done.returncode == 1
    assert "2 combinations, 4 trainings" in done.stdout
    assert done.stderr.splitlines()[-3:] == [
        "1 training of this study failed; start it again to try them again:",
        "error: unet_small_1f_seed2: the loss is nan",
        "hint:  Set --set training.epochs=3",
    ]


def test_an_interruption_says_how_to_go_on(
    finished: Path, call_lunet: CallLunet, monkeypatch: pytest.MonkeyPatch
) -> None:
    _change_result(monkeypatch, signal=2)
    done = call_lunet(*STUDY, "--seeds", "2", "--no-latency", cwd=finished)
    assert done.returncode == 130
    assert "the states of all trainings are saved in runs/mine. Go on with:" in done.stderr
    assert "study quickstart --set experiment.name=mine --vary" in done.stderr
    assert done.stdout == ""


def test_passwords_of_databases_are_not_told(tmp_path: Path, call_lunet: CallLunet) -> None:
    pytest.importorskip("optuna")
    storage = ("--search", "random", "--storage", "nosql://me:secret@host/db")
    done = call_lunet(*STUDY, *storage, cwd=tmp_path)
    assert done.returncode == 2
    assert "--storage 'nosql://me:***@host/db': cannot be opened" in done.stderr
    assert "secret" not in done.stderr


def _change_result(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    """Let a study return something else than it has found."""
    real = job.study

    def study(*arguments: Any, **options: Any) -> Any:
        return replace(real(*arguments, **options), **changes)

    monkeypatch.setattr(job, "study", study)


@pytest.mark.parametrize(
    ("more", "error"),
    [
        (["--vary", "training.lr=1,2"], "--vary training.lr=1: training.lr: unknown key. Did you"),
        (["--vary", "model.drop_prob=0..1"], "--vary model.drop_prob: a range has no end of"),
        (["--vary", NETWORKS], "model.architecture is there twice"),
        (["--seeds", "0"], "--seeds 0: study.seeds: expected at least 1, found 0"),
        (["--metric", "dise"], "--metric dise: study.metric: expected one of dice, iou"),
        (["--search", "bayes"], "'bayes' is not one of"),
        (["--stop-hopeless"], "--stop-hopeless: is for a search"),
        (["--storage", "sqlite:///a.db"], "--storage: is for a search"),
        (["--minutes", "-1"], "--minutes -1.0: study.minutes: expected more than 0"),
        (["--jobs", "0"], "--jobs: expected at least 1, found 0"),
        (["--learning-rate", "3"], "there is no option --learning-rate"),
        (["--set", "training.epochs=3"], "was begun with training.epochs 40 and not 3"),
    ],
)
def test_mistakes_are_a_line(
    finished: Path, call_lunet: CallLunet, more: list[str], error: str
) -> None:
    done = call_lunet(*STUDY, *more, cwd=finished)
    assert done.returncode == 2
    assert error in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
