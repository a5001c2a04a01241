"""How much a busy machine slows a training, a prediction and a bench, and how much spinning does.

    python benchmarks/busy.py [--others 0 1 2] [--jobs train predict bench]

runs each job alone and beside other trainings, once with threads that soon sleep while they wait,
as lunet has it, and once with threads that spin, as OpenMP has it. A job beside n trainings should
take 1 + n times as long as alone: its share.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import SimpleITK as sitk  # noqa: N813
import torch

from lunet_cli.engine.provenance import machine_name, versions

CONFIG = Path(__file__).parents[1] / "configs" / "quickstart.yaml"
LUNET = [sys.executable, "-c", "from lunet_cli.cli.app import main; main()"]
# libgomp spins so many rounds where nothing is said about waiting (its manual, GOMP_SPINCOUNT).
SPINNING = {"GOMP_SPINCOUNT": "300000"}
ENDLESS = 100_000
VOLUME_EDGE = 160


def train_command(folder: Path, name: str, epochs: int) -> list[str]:
    settings = {
        "experiment.output_dir": folder,
        "experiment.name": name,
        "training.epochs": epochs,
        "visualization.plot_slices": "false",
        "visualization.plot_training_curves": "false",
    }
    overrides = [f"--set={key}={value}" for key, value in settings.items()]
    return [*LUNET, "train", str(CONFIG), *overrides]


@contextmanager
def other_trainings(count: int, folder: Path, environment: dict[str, str]) -> Iterator[None]:
    """Keep so many trainings at work, from their first epoch on."""
    others = []
    for number in range(count):
        command = train_command(folder, f"other{number}", ENDLESS)
        others.append(subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL))
    try:
        while not all(_num_epochs(folder / f"other{number}") for number in range(count)):
            time.sleep(0.5)
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def _num_epochs(run: Path) -> int:
    history = run / "history.csv"
    return len(history.read_text(encoding="utf-8").splitlines()) if history.is_file() else 0


def run(command: list[str], environment: dict[str, str]) -> str:
    done = subprocess.run(
        command, env=environment, capture_output=True, encoding="utf-8", check=True
    )
    return done.stdout


def time_training(folder: Path, environment: dict[str, str]) -> float:
    """Median seconds of an epoch after the first."""
    run(train_command(folder, "timed", 6), environment)
    with (folder / "timed" / "history.csv").open(encoding="utf-8") as file:
        seconds = [float(row["epoch_seconds"]) for row in csv.DictReader(file)]
    return statistics.median(seconds[1:])


def time_prediction(folder: Path, environment: dict[str, str]) -> float:
    """Seconds of `lunet predict` on a volume of 160^3 voxels, with a network of one epoch."""
    run(train_command(folder, "model", 1), dict(os.environ))
    sitk.WriteImage(
        sitk.GetImageFromArray(torch.rand((VOLUME_EDGE,) * 3).numpy()),
        str(folder / "volume.nii.gz"),
    )
    start = time.perf_counter()
    volume = str(folder / "volume.nii.gz")
    run([*LUNET, "predict", str(folder / "model"), volume, "-o", str(folder)], environment)
    return time.perf_counter() - start


def time_bench(folder: Path, environment: dict[str, str]) -> float:
    """Median milliseconds of a pass over 64^3 voxels in `lunet bench`."""
    text = run([*LUNET, "bench", "--arch", "lunet_small_4f", "--json"], environment)
    return float(json.loads(text)["rows"][0]["latency_ms"]["median"])


JOBS: dict[str, tuple[str, Callable[[Path, dict[str, str]], float]]] = {
    "train": ("s per epoch", time_training),
    "predict": ("s", time_prediction),
    "bench": ("ms per pass", time_bench),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--others", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", nargs="+", default=list(JOBS), choices=list(JOBS))
    arguments = parser.parse_args()
    print(f"{machine_name()}, {os.cpu_count()} CPUs, {versions()}")
    for job in arguments.jobs:
        unit, measure = JOBS[job]
        for waiting, settings in (("sleeping", {}), ("spinning", SPINNING)):
            alone = 0.0
            for others in arguments.others:
                environment = {**os.environ, **settings}
                with (
                    tempfile.TemporaryDirectory() as name,
                    other_trainings(others, Path(name), environment),
                ):
                    value = measure(Path(name), environment)
                alone = alone or value
                share = value / alone / (1 + others)
                found = f"{value:.2f} {unit}, {share:.2f} x its share"
                print(f"{job}, {waiting}, {others} others: {found}", flush=True)


if __name__ == "__main__":
    main()
