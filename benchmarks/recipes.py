"""Which recipe trains best: single changes to the hippocampus recipe, and sums of good ones.

`python benchmarks/recipes.py run --data FOLDER --out FOLDER --jobs 12 --seconds 270` trains row by
row, three seeds each, in the order of this file; what has not ended in time is left out. `python
benchmarks/recipes.py table FOLDER` prints the table. Each run leaves its configuration, its
history, two models (best and last epoch), and `recipe.json` with the Dice of each validation case.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import queue
import shutil
import statistics
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

_CONFIG = Path(__file__).parents[1] / "configs" / "hippocampus.yaml"
_BASE_EPOCHS = 60
_FEW_SEEDS, _SEEDS = (1, 2), (1, 2, 3)


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Args:
        name: What it is called.
        settings: What it changes.
        compared_with: The row that it is a change of.
        seeds: One training each.
    """

    name: str
    settings: tuple[str, ...] = ()
    compared_with: str = "base"
    seeds: tuple[int, ...] = _SEEDS

    @property
    def epochs(self) -> int:
        """How long it trains."""
        for setting in self.settings:
            if setting.startswith("training.epochs="):
                return int(setting.partition("=")[2])
        return _BASE_EPOCHS


def _sized(name: str, *more: str, epochs: int) -> tuple[str, ...]:
    return (f"model.architecture=lunet_small_{name}", f"training.epochs={epochs}", *more)


_DEEP, _STANDARD = "training.deep_supervision=true", "augmentation.level=standard"
_STRONG, _SLOW_EMA = "augmentation.level=strong", "training.ema_decay=0.998"
_HALF_RATE = "training.learning_rate=0.005"
# In the order in which they are trained.
ROWS = (
    Row("base"),
    Row("deep supervision", (_DEEP,)),
    Row("augmentation standard", (_STANDARD,)),
    Row("augmentation none", ("augmentation.level=none",)),
    Row("180 epochs", ("training.epochs=180",)),
    Row("180 epochs, standard", ("training.epochs=180", _STANDARD), "180 epochs"),
    Row("ema 0.998", (_SLOW_EMA,)),
    Row("augmentation strong", (_STRONG,)),
    Row("16f, 150 epochs", _sized("16f", _HALF_RATE, epochs=150), seeds=_FEW_SEEDS),
    Row("8f, 150 epochs", _sized("8f", epochs=150), seeds=_FEW_SEEDS),
    Row("2f, 180 epochs", _sized("2f", epochs=180), seeds=_FEW_SEEDS),
    Row("180 epochs, deep", ("training.epochs=180", _DEEP), "180 epochs"),
    Row("batch 2", ("training.batch_size=2",)),
    Row("learning rate 0.02", ("training.learning_rate=0.02",)),
    Row("learning rate 0.005", (_HALF_RATE,)),
    Row("Dice only", ("training.loss.name=dice",)),
    Row("AdamW, decay 0.01", ("training.optimizer=adamw", "training.weight_decay=0.01")),
    Row("16f, 150 epochs, standard", _sized("16f", _HALF_RATE, _STANDARD, epochs=150),
        "16f, 150 epochs", _FEW_SEEDS),
    Row("8f, 150 epochs, standard", _sized("8f", _STANDARD, epochs=150),
        "8f, 150 epochs", _FEW_SEEDS),
    Row("1f, 180 epochs", _sized("1f", epochs=180), seeds=_FEW_SEEDS),
    Row("flips", ("augmentation.flip_probability=0.5",)),
    Row("label smoothing 0.1", ("training.loss.label_smoothing=0.1",)),
    Row("Dice per sample", ("training.loss.batch_dice=false",)),
    Row("no gradient clip", ("training.gradient_clip=null",)),
    Row("dropout 0.005", ("model.drop_prob=0.005",)),
    Row("focal, gamma 2", ("training.loss.focal_gamma=2",)),
    Row("batch 8", ("training.batch_size=8",)),
    Row("SGD", ("training.optimizer=sgd", "training.momentum=0.9", "training.learning_rate=0.05")),
)  # fmt: skip


@dataclass(frozen=True)
class Job:
    """One training of a row."""

    row: Row
    seed: int

    @property
    def name(self) -> str:
        """Its folder."""
        plain = "".join(letter if letter.isalnum() else "_" for letter in self.row.name)
        return f"{plain}_seed{self.seed}"


def run(data: Path, out: Path, *, jobs: int, seconds: float, more: Sequence[str]) -> None:
    """Train what there is time for.

    Args:
        data: The folder of the data, with its split.
        out: Where the run folders go; those that are there and done are left alone.
        jobs: Trainings at a time.
        seconds: When whatever still trains is ended.
        more: Settings for all rows.
    """
    deadline = time.time() + seconds
    out.mkdir(parents=True, exist_ok=True)
    # Processes that have used a GPU cannot fork.
    context = multiprocessing.get_context("spawn")
    settings = (*more, f"data.root={data}", f"experiment.output_dir={out}")
    with context.Manager() as manager:
        todo: Any = manager.Queue()
        for job in (Job(row, seed) for row in ROWS for seed in row.seeds):
            if not (out / job.name / "recipe.json").exists():
                todo.put(job)
        workers = [
            context.Process(target=_work, args=(todo, out, settings, deadline, number))
            for number in range(jobs)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(max(0.0, deadline - time.time()))
        for worker in workers:
            if worker.is_alive():
                worker.terminate()
                worker.join(10)
                worker.kill()


def _work(todo: Any, out: Path, settings: tuple[str, ...], deadline: float, number: int) -> None:
    """Train job after job in one process, which starts PyTorch and the GPU only once."""
    with (out / f"worker_{number}.log").open("w", buffering=1, encoding="utf-8") as log:
        os.dup2(log.fileno(), sys.stdout.fileno())
        os.dup2(log.fileno(), sys.stderr.fileno())
        import torch

        torch.set_num_threads(1)
        torch.backends.cudnn.benchmark = True
        seconds_per_epoch = 0.0
        while True:
            try:
                job = todo.get_nowait()
            except queue.Empty:
                return
            left = deadline - time.time()
            if left <= 0 or seconds_per_epoch * job.row.epochs > left:
                print(f"no time for {job.name}: {left:.0f} s left, {seconds_per_epoch:.2f} each")
                continue
            start = time.time()
            try:
                _train(job, out, settings)
            except Exception:
                # The other rows do not depend on it.
                traceback.print_exc()
            else:
                seconds_per_epoch = (time.time() - start) / job.row.epochs


def _train(job: Job, out: Path, settings: tuple[str, ...]) -> None:
    from lunet_cli.config.load import load_config
    from lunet_cli.engine.training.loop import Validation
    from lunet_cli.results.events import Event
    from lunet_cli.results.training import EpochDone

    training: Any = import_module("lunet_cli.engine.training.train")
    folder = out / job.name
    shutil.rmtree(folder, ignore_errors=True)
    interval = max(1, job.row.epochs // 12)
    own = (f"experiment.name={job.name}", f"experiment.seed={job.seed}")
    fixed = (f"training.validation_interval={interval}", *_WITHOUT_EXTRAS)
    config = load_config(_CONFIG, [*settings, *fixed, *own, *job.row.settings])
    found: list[Validation] = []
    per_epoch: dict[int, Validation] = {}
    validate = training.validate

    def remember(*arguments: Any) -> Validation:
        validation: Validation = validate(*arguments)
        found.append(validation)
        return validation

    def on_event(event: Event) -> None:
        if isinstance(event, EpochDone):
            print(f"{job.name}: {event}")
            if event.record.is_validated:
                # Behind it, the weights without their average may have been validated, too.
                per_epoch[event.record.epoch] = found[0]
            found.clear()

    training.validate = remember
    try:
        result = training.train(config, on_event=on_event)
    finally:
        training.validate = validate
    if result.outcome != "finished":
        print(f"{job.name}: {result.outcome}")
        return
    _keep_last_model(folder)
    chosen = {"best": result.best.epoch, "last": len(result.history)}
    record = {
        "row": job.row.name,
        "seed": job.seed,
        "settings": job.row.settings,
        "parameters": result.num_parameters,
        "epochs": len(result.history),
        "seconds": sum(epoch.epoch_seconds for epoch in result.history),
    }
    for name, epoch in chosen.items():
        record[name] = {"epoch": epoch, "dice": per_epoch[epoch].dice_per_case}
    (folder / "recipe.json").write_text(json.dumps(record), encoding="utf-8")


_WITHOUT_EXTRAS = (
    "evaluation.metrics=[dice]",
    "visualization.plot_training_curves=false",
    "visualization.plot_slices=false",
    "data.pin_memory=false",
)


def _keep_last_model(folder: Path) -> None:
    """Keep the averaged weights of the last epoch, without the state of the training."""
    from lunet_cli.engine.checkpoints.checkpoint import load_checkpoint, save_checkpoint

    last = load_checkpoint(folder / "last.pt")
    assert last.training is not None
    weights = last.training["average"] or last.weights
    save_checkpoint(replace(last, weights=weights, training=None), folder / "last_model.pt")
    (folder / "last.pt").unlink()


def table(folder: Path) -> str:
    """Rows with Dice of the last and of the best epoch, and differences with their intervals."""
    from lunet_cli.engine.evaluation.summary import bootstrap_interval

    runs: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(folder.glob("*/recipe.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        runs.setdefault(record["row"], []).append(record)
    lines = [
        "| recipe | parameters | epochs | seeds | last epoch | by seed | best epoch | "
        "last minus compared (95 % CI) |",
        "|---|--:|--:|--:|--:|---|--:|---|",
    ]
    import numpy as np

    for row in ROWS:
        found = runs.get(row.name, [])
        if not found:
            continue
        seeds = [statistics.fmean(_per_case(run, "last").values()) for run in found]
        best = statistics.fmean(statistics.fmean(_per_case(run, "best").values()) for run in found)
        difference = ""
        others = runs.get(row.compared_with, [])
        if others and row.name != row.compared_with:
            ours, theirs = _mean_per_case(found), _mean_per_case(others)
            values = np.array([ours[case] - theirs[case] for case in ours])
            low, high = bootstrap_interval(values)
            difference = f"{values.mean():+.4f} ({low:+.4f} to {high:+.4f})"
            if row.compared_with != "base":
                difference += f", {row.compared_with}"
        lines.append(
            f"| {row.name} | {found[0]['parameters']:,} | {found[0]['epochs']} | {len(found)} | "
            f"{statistics.fmean(seeds):.4f} | {', '.join(f'{seed:.4f}' for seed in seeds)} | "
            f"{best:.4f} | {difference} |"
        )
    return "\n".join(lines)


def _per_case(run: dict[str, Any], which: str) -> dict[str, float]:
    """Mean Dice over labels of each case."""
    return {case: statistics.fmean(dice.values()) for case, dice in run[which]["dice"].items()}


def _mean_per_case(runs: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Over seeds."""
    per_run = [_per_case(run, "last") for run in runs]
    return {case: statistics.fmean(dice[case] for dice in per_run) for case in per_run[0]}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("run", help="train")
    command.add_argument("--data", type=Path, required=True)
    command.add_argument("--out", type=Path, required=True)
    command.add_argument("--jobs", type=int, default=1)
    command.add_argument("--seconds", type=float, default=1e6)
    command.add_argument("--set", action="append", default=[])
    commands.add_parser("table", help="print").add_argument("folder", type=Path)
    return parser.parse_args()


def main() -> None:
    """Train, or print the table."""
    arguments = _arguments()
    if arguments.command == "table":
        print(table(arguments.folder))
    else:
        run(
            arguments.data,
            arguments.out,
            jobs=arguments.jobs,
            seconds=arguments.seconds,
            more=arguments.set,
        )


if __name__ == "__main__":
    main()
