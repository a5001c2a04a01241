"""What a training on whole CT costs beside its steps: memory, loading, starting, rare labels.

    python benchmarks/large_volumes.py OUT [--cases 8] [--size 600 512 512] [--steps 30]

Writes synthetic CT as `OUT/data` (int16, noise, three labels, of which one has 1e-5 of the volume)
unless it is there, and starts a training on it twice, each in a process of its own: with an empty
cache, then with that of the first. Each runs `--steps` steps of `lunet_small_4f` on patches of 96^3
in batches of 2, then draws batches that are only looked at. A validation takes as long as a
prediction (benchmarks/prediction.py).
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813
import torch

from lunet_cli.config.load import load_config
from lunet_cli.engine.data.patches import batches
from lunet_cli.engine.training.context import StepContext
from lunet_cli.engine.training.gradients import Gradients
from lunet_cli.engine.training.loop import train_step
from lunet_cli.engine.training.setup import set_up
from lunet_cli.engine.training.state import TrainState
from lunet_cli.engine.training.verification import choose_plan

RARE = 3
NUM_DRAWN = 160  # Batches that are only looked at.
SHARES = {1: 0.05, 2: 0.003, RARE: 1e-5}  # Of the volume, by label value.


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--cases", type=int, default=8)
    parser.add_argument("--size", type=int, nargs=3, default=(600, 512, 512))
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--start", action="store_true", help="Be one of the two processes.")
    arguments = parser.parse_args()
    if arguments.start:
        print(json.dumps(start(arguments.out, arguments.steps)))
        return
    data = arguments.out / "data"
    if not data.exists():
        for index in range(arguments.cases):
            write_case(data, index, tuple(arguments.size))
    shutil.rmtree(arguments.out / "cache", ignore_errors=True)
    for name in ("first start", "second start"):
        command = [sys.executable, __file__, str(arguments.out), "--start"]
        command += ["--steps", str(arguments.steps)]
        found = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        print(name, json.dumps(found), flush=True)


def write_case(data: Path, index: int, size: tuple[int, int, int]) -> None:
    """A body of noise with three balls in it, each of its own brightness."""
    rng = np.random.default_rng(index)
    image = np.empty(size, np.int16)
    label = np.zeros(size, np.uint8)
    for value, share in SHARES.items():
        radius = (share * np.prod(size) * 3 / (4 * np.pi)) ** (1 / 3)
        centre = [rng.uniform(0.3, 0.7) * edge for edge in size]
        near = [slice(max(0, int(c - radius)), int(c + radius) + 2) for c in centre]
        inside = sum((np.ogrid[tuple(near)][axis] - centre[axis]) ** 2 for axis in range(3))
        label[tuple(near)][inside <= radius**2] = value
    for plane, labels in zip(image, label, strict=True):
        plane[:] = rng.normal(0, 40, plane.shape) + 100 * labels - 50
    for folder, name, array in (
        ("imagesTr", f"ct{index}_0000.nii.gz", image),
        ("labelsTr", f"ct{index}.nii.gz", label),
    ):
        (data / folder).mkdir(parents=True, exist_ok=True)
        volume = sitk.GetImageFromArray(array)
        volume.SetSpacing((0.8, 0.8, 1.0))
        sitk.WriteImage(volume, str(data / folder / name), useCompression=True)
    names = {"background": 0} | {f"label{value}": value for value in SHARES}
    description = {"channel_names": {"0": "CT"}, "labels": names, "file_ending": ".nii.gz"}
    (data / "dataset.json").write_text(json.dumps(description | {"numTraining": index + 1}))


def start(out: Path, num_steps: int) -> dict[str, float]:
    """Start a training, run some steps, and say what it took."""
    begin = time.perf_counter()
    settings = [
        f"data.root={out / 'data'}",
        f"data.cache_dir={out / 'cache'}",
        "model.architecture=lunet_small_4f",
        "preprocessing.normalization.name=ct_window",
        "training.patch_size=[96, 96, 96]",
        "training.batch_size=2",
        "training.patches_per_case=40",
        "training.foreground_fraction=0.6",
        "augmentation.level=light",
    ]
    config = load_config(None, settings)
    setup = set_up(config, lambda event: None)
    network = setup.new_network()
    plan, _ = choose_plan(
        config.training, network, setup.first_batch, setup.loss, lambda event: None
    )
    context = StepContext(setup, plan)
    state = TrainState.fresh(network, config.training, plan)
    gradients = Gradients(state, context)
    setup.sampler.epoch, setup.sampler.first_step = 1, 0
    to_first_step = time.perf_counter() - begin
    loading = stepping = 0.0
    last = time.perf_counter()
    for number, batch in enumerate(batches(setup.loader), start=1):
        loaded = time.perf_counter()
        train_step(state, gradients, [batch], context, 1e-3)
        done = time.perf_counter()
        loading, stepping = loading + loaded - last, stepping + done - loaded
        last = time.perf_counter()
        if number == num_steps:
            break
    setup.sampler.epoch = 2
    labels = [batch[1] for batch in itertools.islice(batches(setup.loader), NUM_DRAWN)]
    with_rare = sum(bool((label == RARE).any()) for label in labels)
    mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "seconds to the first step": round(to_first_step, 1),
        "seconds of a step": round((loading + stepping) / num_steps, 3),
        "share of loading": round(loading / (loading + stepping), 3),
        "share of batches with the rare label": round(with_rare / NUM_DRAWN, 3),
        "peak memory MiB": round(mib),
        "threads": torch.get_num_threads(),
    }


if __name__ == "__main__":
    main()
