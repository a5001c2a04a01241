"""How well networks do in windows and in one pass, by how they were trained.

    python benchmarks/modes.py OUT --hippocampus FOLDER [--seeds 0 1] [--only phantom] [--jobs 12]

Trains each variant below, in `--jobs` processes at once, and measures its Dice on the validation
cases in the windows of the training and in one piece: with zeros up to a multiple of the stride,
as one pass computes it, with copies of its edges instead (`edges copied`), and with a margin of
zeros. `FOLDER` is the data of Task04_Hippocampus with a `splits.json`. `OUT/modes.csv` and
`OUT/modes.md` hold what was found. With `--deadline SECONDS`, what has not begun or ended by then
is left out.
"""

from __future__ import annotations

import argparse
import csv
import json
import multiprocessing
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813
import torch
import torch.nn.functional as F
from torch import Tensor

from lunet_cli.config.data import DataConfig, PhantomConfig
from lunet_cli.engine.checkpoints.models import Model, load_model
from lunet_cli.engine.data.cache import CaseStore
from lunet_cli.engine.data.layouts import find_phantom_cases
from lunet_cli.engine.data.store import PreparedCase
from lunet_cli.engine.evaluation.overlap import dice
from lunet_cli.engine.inference.labelled_cases import select_cases
from lunet_cli.engine.inference.sliding_window import ArrayInput, predict_logits
from lunet_cli.engine.networks.blocks import SegmentationNetwork
from lunet_cli.engine.networks.execution import resolve_device

RECIPE = Path(__file__).parents[1] / "configs" / "hippocampus.yaml"
CALL = "from lunet_cli.cli.app import main; main()"
USUAL = ["visualization.plot_slices=false", "visualization.plot_training_curves=false"]
USUAL += ["evaluation.metrics=[dice]", "training.num_threads=1"]
EPOCHS = "training.epochs=40"
SMALL = [
    EPOCHS,
    "training.patch_size=[32,32,32]",
    "training.batch_size=8",
    "training.patches_per_case=2",
]
HIPPOCAMPUS = {"patches": SMALL, "whole": [EPOCHS]}
EDGE = 160
CUT = [
    "labels.ventricle=3",
    "training.epochs=30",
    "training.patch_size=[64,64,64]",
    "training.patches_per_case=6",
]
PHANTOM = {"patches": CUT}
# Zeros around the volume in one piece, beside those up to a multiple of the stride; None leaves its
# network to copy the edges up to there.
MARGINS = {
    "edges copied": None,
    "one pass": 0,
    "one pass, margin 16": 16,
    "one pass, margin 48": 48,
}
MODES = ("windows", *MARGINS)


def write_phantom(job: tuple[Path, int, int]) -> None:
    """Write one case of the built-in volumes as files, as in `images/` and `labels/`."""
    root, index, num_cases = job
    case_set = find_phantom_cases(
        DataConfig(phantom=PhantomConfig(size=EDGE, num_cases=num_cases, seed=1))
    )
    case = case_set.cases[index]
    (image, *_), label = case_set.reader(case, lambda remark: None)
    for folder, volume in (("images", image), ("labels", label)):
        sitk.WriteImage(volume, str(root / folder / f"{case.case_id}.nii.gz"))


def ensure_phantom(root: Path, *, num_cases: int, jobs: int) -> None:
    """Write volumes that are not there yet."""
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    if len(list((root / "labels").iterdir())) == num_cases:
        return
    context = multiprocessing.get_context("spawn")
    with context.Pool(jobs) as pool:
        pool.map(write_phantom, [(root, index, num_cases) for index in range(num_cases)], 1)


def train_and_measure(run: Path, root: Path, settings: list[str], *, end: float) -> bool:
    """Train in one process and measure in another; whether both were done in time."""
    command = [sys.executable, "-c", CALL, "train", str(RECIPE)]
    values = [f"data.root={root}", f"experiment.output_dir={run.parent}"]
    for setting in [*values, f"experiment.name={run.name}", *USUAL, *settings]:
        command += ["--set", setting]
    measure = [sys.executable, __file__, "--measure", str(run)]
    with (run.parent / f"{run.name}.log").open("w") as log:
        for each in (command, measure):
            left = end - time.monotonic()
            if left < 5:
                return False
            try:
                done = subprocess.run(each, stdout=log, stderr=log, timeout=left, check=False)
            except subprocess.TimeoutExpired:
                return False
            if done.returncode:
                return False
    return True


def measure(run: Path) -> None:
    """Write the Dice of each mode, label and case of a run into its `modes.json`."""
    torch.set_num_threads(1)
    model = load_model(run)
    assert isinstance(model.network, SegmentationNetwork)
    selected = select_cases(model, None, "val")
    store = CaseStore(
        selected.case_set,
        selected.cases,
        model.card.preprocessing,
        model.card.labels,
        kind="none",
        folder=run,
    )
    model.network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    network = model.network.to(resolve_device("auto"))
    found: dict[str, list[list[float]]] = {mode: [] for mode in MODES}
    with torch.inference_mode():
        for index in range(len(store)):
            case = store[index]
            for mode in MODES:
                found[mode].append(score(case, logits_of(case, mode, network, model), model))
    (run / "modes.json").write_text(json.dumps(found))


def logits_of(case: PreparedCase, mode: str, network: SegmentationNetwork, model: Model) -> Tensor:
    """Logits (K, D, H, W) of a case."""
    device = next(network.parameters()).device

    def forward(images: Tensor) -> Tensor:
        images = images.to(device, memory_format=torch.channels_last_3d)
        logits: Tensor = network(images)
        return logits.float()

    if mode == "windows":
        (logits,) = predict_logits(
            forward, [ArrayInput(case.image)], window=model.card.window, batch_size=4
        )
        return logits
    margin, stride = MARGINS[mode], model.card.network.total_stride
    front = [0, 0, 0]
    padding: list[int] = []
    if margin is not None:
        for axis, size in enumerate(case.image.shape[1:]):
            missing = 2 * margin + -(size + 2 * margin) % stride
            front[axis] = missing // 2
            padding[:0] = [missing // 2, missing - missing // 2]
    logits = forward(F.pad(torch.from_numpy(case.image)[None], padding))[0]
    inside = [slice(n, n + size) for n, size in zip(front, case.image.shape[1:], strict=True)]
    return logits[:, *inside]


def score(case: PreparedCase, logits: Tensor, model: Model) -> list[float]:
    """Dice of each label."""
    labels = model.card.labels
    prediction = labels.decode(logits[None])[0].cpu().numpy()
    reference = labels.masks(torch.from_numpy(case.label.astype(np.int32))[None])[0].numpy()
    return [dice(*pair) for pair in zip(prediction, reference, strict=True)]


def summarize(out: Path) -> None:
    """Write the tables of all runs that were measured."""
    rows: list[list[str]] = []
    for path in sorted(out.glob("*/modes.json")):
        data, variant, seed = path.parent.name.split("__")
        found = json.loads(path.read_text())
        means = [f"{np.mean(found[mode]):.4f}" for mode in MODES]
        rows.append([data, variant.replace("-", ", ").replace("_", " "), seed, *means])
    header = ["data", "training", "seed", *MODES]
    with (out / "modes.csv").open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    lines = [header, ["---"] * len(header), *rows]
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    (out / "modes.md").write_text(text + "\n")
    print(text)


def main() -> None:
    """Train, measure, summarise."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, nargs="?")
    parser.add_argument("--hippocampus", type=Path)
    parser.add_argument("--phantom-cases", type=int, default=24)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--only", choices=["hippocampus", "phantom"])
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--deadline", type=float, default=1e6)
    parser.add_argument("--measure", type=Path)
    options = parser.parse_args()
    if options.measure:
        measure(options.measure)
        return
    end = time.monotonic() + options.deadline
    os.environ["OMP_NUM_THREADS"] = "1"
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    phantom = out / "phantom"
    sources = {
        "phantom": (phantom, PHANTOM),
        "hippocampus": (options.hippocampus, HIPPOCAMPUS),
    }
    if options.only != "hippocampus":
        ensure_phantom(phantom, num_cases=options.phantom_cases, jobs=options.jobs)
    with ThreadPoolExecutor(options.jobs) as pool:
        for seed in options.seeds:
            for data, (root, variants) in sources.items():
                if options.only not in (None, data):
                    continue
                for variant, settings in variants.items():
                    run = out / f"{data}__{variant.replace(', ', '-').replace(' ', '_')}__{seed}"
                    pool.submit(
                        train_and_measure,
                        run,
                        root,
                        [*settings, f"experiment.seed={seed}"],
                        end=end,
                    )
    summarize(out)


if __name__ == "__main__":
    main()
