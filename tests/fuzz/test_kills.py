"""Kills at any moment: going on ends where an undisturbed run ends, and leaves nothing behind."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import torch

from lunet_cli.engine.checkpoints.checkpoint import load_checkpoint
from lunet_cli.engine.data.cache_folder import cache_info

NumAttacks = Callable[[int, int], int]
Plan = dict[str, Any]
TRACEBACK = "Traceback (most recent call last)"
CONFIG = Path(__file__).parents[2] / "configs" / "default.yaml"
SETTINGS = {
    "experiment.name": "run",
    "model.architecture": "lunet_small_1f",
    "model.drop_prob": 0.1,
    "data.phantom.num_cases": 5,
    "data.phantom.size": 32,
    "training.epochs": 4,
    "training.batch_size": 2,
    "training.scheduler": "cosine",
    "training.ema_decay": 0.99,
    "training.precision": "fp32",
    "training.num_threads": 1,
    "training.log_interval": 1,
    "training.checkpoint.save_every": 2,
    "augmentation.enabled": True,
    "evaluation.metrics": "[dice, hausdorff95]",
    "visualization.plot_slices": True,
    "visualization.num_samples": 1,
}
KILL, TERM, INT, HUP = (
    int(number) for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
)
OURS = {0, -KILL, -TERM, -INT, -HUP, 128 + TERM, 128 + INT, 128 + HUP}


class Stage:
    """Runs `lunet` in children of a process that has loaded it already."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        environment = os.environ | {"OMP_NUM_THREADS": "1", "NO_COLOR": "1"}
        command = [sys.executable, str(Path(__file__).with_name("stage.py"))]
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )
        self._num_logs = 0
        assert self._read() == "ready\n"

    def run(self, *arguments: str | Path, kill: Plan | None = None) -> tuple[int, float, str]:
        """Exit code, seconds, and what was said."""
        assert self._process.stdin is not None
        self._num_logs += 1
        log = self._folder / f"{self._num_logs}.log"
        task = {"arguments": list(map(str, arguments)), "log": str(log), "kill": kill}
        self._process.stdin.write(json.dumps(task) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._read())
        return answer["status"], answer["seconds"], log.read_text()

    def close(self) -> None:
        self._process.communicate()

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    stage = Stage(tmp_path_factory.mktemp("stage"))
    yield stage
    stage.close()


def train_arguments(output_dir: Path, **more: str) -> list[str]:
    settings = SETTINGS | {"experiment.output_dir": output_dir} | more
    return ["train", str(CONFIG), *(f"--set={key}={value}" for key, value in settings.items())]


@pytest.fixture(scope="module")
def undisturbed(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """The run folder of an undisturbed training, and the seconds that it took."""
    folder = tmp_path_factory.mktemp("undisturbed")
    status, seconds, said = stage.run(*train_arguments(folder))
    assert status == 0, said
    return folder / "run", seconds


def history_without_times(run: Path) -> list[dict[str, str]]:
    with (run / "history.csv").open() as file:
        return [
            {k: v for k, v in row.items() if k != "epoch_seconds"} for row in csv.DictReader(file)
        ]


def require_whole_files(run: Path) -> None:
    """What is visible after a kill must be whole."""
    for path in run.glob("*.pt"):
        load_checkpoint(path)
    for path in run.glob("*.json"):
        json.loads(path.read_text())
    if (run / "history.csv").exists():
        assert all(
            None not in row and None not in row.values() for row in history_without_times(run)
        )


def require_nothing_left(folder: Path) -> None:
    assert [str(path) for path in folder.rglob("*") if path.name.startswith((".", "tmp"))] == []


def require_same_run(run: Path, expected: Path) -> None:
    assert {path.name for path in run.iterdir()} == {path.name for path in expected.iterdir()}
    assert history_without_times(run) == history_without_times(expected)
    for path in expected.glob("*.pt"):
        ours, theirs = load_checkpoint(run / path.name), load_checkpoint(path)
        assert ours.epoch == theirs.epoch
        assert all(
            torch.equal(tensor, theirs.weights[name]) for name, tensor in ours.weights.items()
        )
    ours, theirs = (
        json.loads((folder / "training.json").read_text()) for folder in (run, expected)
    )
    for summary in (ours, theirs):
        del summary["best"]["epoch_seconds"]
    assert ours == theirs


def kill_and_go_on(
    stage: Stage, folder: Path, plans: list[Plan], expected: Path, **more: str
) -> None:
    """Train, be killed as planned, each time going on with the same command, to the end."""
    arguments = [*train_arguments(folder, **more), "--resume", "auto"]
    for plan in plans:
        status, _, said = stage.run(*arguments, kill=plan)
        assert TRACEBACK not in said, (plan, said)
        assert status in OURS or "has done 4 already" in said, (plan, status, said)
        require_whole_files(folder / "run")
    status, _, said = stage.run(*arguments)
    assert status == 0 or "has done 4 already" in said, (plans, said)
    assert TRACEBACK not in said
    require_same_run(folder / "run", expected)


# Where a training stands when a file is written: the first and the last time, and one in between.
MOMENTS = [
    *(("call lunet_cli.engine.training.loop:train_step", count) for count in (1, 2, 3, 6, 8)),
    *(("call lunet_cli.engine.training.loop:dice", count) for count in (1, 4)),
    ("call lunet_cli.engine.data.cache:prepare_case", 3),
    ("call lunet_cli.engine.training.train:assess", 1),
    ("call lunet_cli.engine.training.assessment:score_label", 2),
    ("call lunet_cli.engine.training.recorder:TrainingSummary", 1),
    *((f"{phase} config.yaml", 1) for phase in ("torn", "after")),
    *((f"{phase} manifest.json", 1) for phase in ("before", "after")),
    *(
        (f"{phase} history.csv", count)
        for phase in ("torn", "before", "after")
        for count in (1, 2, 5)
    ),
    *((f"{phase} last.pt", count) for phase in ("torn", "before", "after") for count in (1, 2, 5)),
    *((f"{phase} best_model.pt", 1) for phase in ("torn", "before", "after")),
    *((f"{phase} checkpoint_epoch004.pt", 1) for phase in ("torn", "before", "after")),
    *((f"{phase} slices.png", 1) for phase in ("torn", "before", "after")),
    *((f"{phase} training.json", 1) for phase in ("torn", "before", "after")),
]


def test_a_training_killed_at_a_chosen_moment_ends_as_if_it_had_not_been(
    stage: Stage, undisturbed: tuple[Path, float], tmp_path: Path, num_attacks: NumAttacks
) -> None:
    rng = np.random.default_rng(0)
    chosen = (
        MOMENTS if num_attacks(0, 1) else [MOMENTS[i] for i in rng.permutation(len(MOMENTS))[:4]]
    )
    for number, (moment, count) in enumerate(chosen):
        # Halves of files are left by SIGKILL only; what can be caught ends in order.
        caught = [KILL, TERM, INT, HUP][rng.integers(4)]
        plan = {
            "signal": KILL if moment.startswith("torn") else caught,
            "moment": moment,
            "count": count,
        }
        kill_and_go_on(stage, tmp_path / str(number), [plan], undisturbed[0])
    require_nothing_left(tmp_path)


def test_a_training_killed_again_and_again_at_random_ends_as_if_it_had_not_been(
    stage: Stage, undisturbed: tuple[Path, float], tmp_path: Path, num_attacks: NumAttacks
) -> None:
    rng = np.random.default_rng(1)
    expected, seconds = undisturbed
    for number in range(num_attacks(1, 8)):
        plans = [
            {
                "signal": [KILL, TERM, INT, HUP][rng.integers(4)],
                "after": float(rng.uniform(0, 1.2 * seconds)),
            }
            for _ in range(3)
        ]
        kill_and_go_on(stage, tmp_path / str(number), plans, expected)
    require_nothing_left(tmp_path)


# Within a file of an entry, between two of them, and before the entry gets its name.
CACHE_MOMENTS = [
    (moment, count)
    for count in (1, 3, 5, 2, 4)
    for moment in (
        "torn image.npy",
        "call lunet_cli.engine.data.cache_entry:_rename",
        "torn label.npy",
        "torn foreground.npy",
    )
]


def test_a_cache_that_was_killed_half_written_is_no_harm(
    stage: Stage, undisturbed: tuple[Path, float], tmp_path: Path, num_attacks: NumAttacks
) -> None:
    on_disk = {"data.cache": "disk"}
    for number, (moment, count) in enumerate(CACHE_MOMENTS[: num_attacks(2, 20)]):
        folder = tmp_path / str(number)
        plan = {"signal": KILL, "moment": moment, "count": count}
        status, _, said = stage.run(*train_arguments(folder, **on_disk), kill=plan)
        assert status == -KILL, (plan, said)
        kill_and_go_on(stage, folder, [], undisturbed[0], **on_disk)
        info = cache_info(folder)
        assert [(group.num_cases, group.num_stale) for group in info.groups] == [(5, 0)]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for index in range(3):
        volume = sitk.GetImageFromArray(rng.normal(size=(32, 32, 32)).astype(np.float32))
        sitk.WriteImage(volume, str(folder / f"case{index}.nii.gz"))
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_prediction_killed_at_any_moment_is_completed(
    stage: Stage,
    undisturbed: tuple[Path, float],
    images: Path,
    tmp_path: Path,
    num_attacks: NumAttacks,
) -> None:
    rng = np.random.default_rng(2)
    common = [
        "predict",
        undisturbed[0],
        images,
        "--precision",
        "fp32",
        "--runtime",
        "torch",
        "--threads",
        "1",
    ]
    status, seconds, said = stage.run(*common, "-o", tmp_path / "expected")
    assert status == 0, said
    for number in range(num_attacks(2, 12)):
        output = tmp_path / str(number)
        plan: Plan = {
            "signal": [KILL, TERM, INT][number % 3],
            "after": float(rng.uniform(0, seconds)),
        }
        if number % 2:
            plan = {
                "signal": KILL,
                "moment": f"{'before' if number % 4 == 1 else 'after'} case1.nii.gz",
                "count": 1,
            }
        status, _, said = stage.run(*common, "-o", output, "--resume", kill=plan)
        assert status in OURS, (plan, said)
        assert TRACEBACK not in said
        status, _, said = stage.run(*common, "-o", output, "--resume")
        assert status == 0, (plan, said)
        assert contents(output) == contents(tmp_path / "expected")
        require_nothing_left(output)


def test_an_evaluation_killed_at_any_moment_is_repeated(
    stage: Stage, undisturbed: tuple[Path, float], tmp_path: Path, num_attacks: NumAttacks
) -> None:
    rng = np.random.default_rng(3)
    shutil.copytree(undisturbed[0], tmp_path / "run")
    common = ["eval", tmp_path / "run", "--threads", "1"]
    status, seconds, said = stage.run(*common, "-o", tmp_path / "expected")
    assert status == 0, said
    for number in range(num_attacks(1, 6)):
        output = tmp_path / str(number)
        plan: Plan = {
            "signal": [KILL, TERM, INT][number % 3],
            "after": float(rng.uniform(0, seconds)),
        }
        if number % 2:
            plan = {
                "signal": KILL,
                "moment": f"{['torn', 'before', 'after'][number // 2]} summary.json",
                "count": 1,
            }
        status, _, said = stage.run(*common, "-o", output, kill=plan)
        assert status in OURS, (plan, said)
        assert TRACEBACK not in said
        status, _, said = stage.run(*common, "-o", output)
        assert status == 0, (plan, said)
        assert (output / "metrics.csv").read_bytes() == (
            tmp_path / "expected" / "metrics.csv"
        ).read_bytes()
    require_whole_files(tmp_path / "run")
