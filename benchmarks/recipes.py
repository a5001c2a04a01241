"""Which recipe trains best, how small a network may be, how long it takes, and how many cases.

    python benchmarks/recipes.py run STUDY --data FOLDER --out FOLDER --jobs 2
    python benchmarks/recipes.py table STUDY FOLDER

A study is a list of rows, each a change to the hippocampus recipe: `ablation` changes one thing,
`sizes` the channels, `time` the epochs, and `cases` how many cases there are to learn from, drawn
anew for each seed, in as many steps. `run` trains them seed by seed; `--seconds` ends it early, and
what has not ended is left out and begun again by the next run. Each run leaves its configuration,
its history, two models (best and last epoch), and `recipe.json` with the Dice of each validation
case.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import queue
import random
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
_SEEDS = (1, 2, 3)
_VALIDATIONS = 10  # Of a training, so that the best of them is not the best of many.


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Args:
        name: What it is called.
        settings: What it changes.
        epochs: How long it trains.
        cases: How many cases it has to learn from; None for all.
    """

    name: str
    settings: tuple[str, ...] = ()
    epochs: int = 15
    cases: int | None = None


def _size(size: int, more: str = "", **others: Any) -> Row:
    """A row of so many channels, with the rate and the augmentation that `data plan` gives it."""
    settings = (
        f"model.architecture=lunet_small_{size}f",
        f"training.learning_rate={0.1 / size:.2g}",
        f"augmentation.level={'light' if size < 8 else 'standard'}",
    )
    return Row(f"{size}f{more}", settings, **others)


_TEACHER = Path(__file__).parents[1] / "lunet_cli" / "models" / "hippocampus-mri-16f.pt"
_TAUGHT = (f"distillation.teacher=[{_TEACHER}]",)
_MIRRORED = "augmentation.flip_probability=0.5"
_ABLATION = (
    Row("base"),
    Row("one-cycle", ("training.scheduler=one-cycle", "training.warmup_epochs=0")),
    Row("Adam, rate 0.01", ("training.optimizer=adam", "training.learning_rate=0.01")),
    Row("rate 0.1", ("training.learning_rate=0.1",)),
    Row("rate 0.05", ("training.learning_rate=0.05",)),
    Row("rate 0.01", ("training.learning_rate=0.01",)),
    Row("rate 0.005", ("training.learning_rate=0.005",)),
    Row("augmentation none", ("augmentation.level=none",)),
    Row("augmentation standard", ("augmentation.level=standard",)),
    Row("augmentation strong", ("augmentation.level=strong",)),
    Row("mirrored along x", (_MIRRORED, "augmentation.flip_axes=[x]")),
    Row("deep supervision", ("training.deep_supervision=true",)),
    *(
        Row(f"taught by ready 16f, {weight}", (*_TAUGHT, f"distillation.weight={weight}"))
        for weight in (0.3, 0.7)
    ),
    Row("Dice only", ("training.loss.name=dice",)),
    Row("whole volumes, batch 4", ("training.patch_size=null", "training.batch_size=4")),
    Row("batch 1", ("training.batch_size=1",)),
    Row("batch 4", ("training.batch_size=4",)),
    Row("cosine", ("training.scheduler=cosine",)),
    Row("no average", ("training.ema_decay=null",)),
    Row("average 0.99", ("training.ema_decay=0.99",)),
    Row("Dice of each patch", ("training.loss.batch_dice=false",)),
    Row("label smoothing 0.1", ("training.loss.label_smoothing=0.1",)),
    Row("focal, gamma 2", ("training.loss.focal_gamma=2",)),
    Row("half around labels", ("training.foreground_fraction=0.5",)),
    Row("mirrored along all axes", (_MIRRORED,)),
    Row("decay 0.01", ("training.weight_decay=0.01",)),
    Row("AdamW, rate 0.01, decay 0.01", ("training.optimizer=adamw", "training.weight_decay=0.01",
        "training.learning_rate=0.01")),
    Row("SGD, rate 0.05", ("training.optimizer=sgd", "training.momentum=0.9",
        "training.learning_rate=0.05")),
    Row("no gradient clip", ("training.gradient_clip=null",)),
    Row("dropout 0.005", ("model.drop_prob=0.005",)),
)  # fmt: skip
STUDIES = {
    "ablation": _ABLATION,
    "sizes": tuple(
        _size(size, epochs=epochs)
        for size, epochs in ((1, 40), (2, 40), (4, 40), (8, 30), (16, 20))
    ),
    "time": tuple(
        _size(size, f", {epochs} epochs", epochs=epochs)
        for epochs in (5, 10, 20, 40)
        for size in (1, 4, 16)
    ),
    "cases": tuple(
        _size(size, f", {cases} cases", cases=cases)
        for cases in (10, 20, 40, 80, 160)
        for size in (4, 16)
    ),
}


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


def run(
    rows: Sequence[Row], data: Path, out: Path, *, jobs: int, seconds: float, more: Sequence[str]
) -> None:
    """Train what there is time for.

    Args:
        rows: What is trained.
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
        for job in (Job(row, seed) for seed in _SEEDS for row in rows):
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
    interval = max(1, job.row.epochs // _VALIDATIONS)
    own = (
        f"experiment.name={job.name}",
        f"experiment.seed={job.seed}",
        f"training.epochs={job.row.epochs}",
        *_of_cases(job, settings, out),
    )
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


def _of_cases(job: Job, settings: Sequence[str], out: Path) -> tuple[str, ...]:
    """The settings that leave a job fewer cases, and as many steps."""
    if job.row.cases is None:
        return ()
    (root,) = (one.removeprefix("data.root=") for one in settings if one.startswith("data.root="))
    split = json.loads((Path(root) / "splits.json").read_text(encoding="utf-8"))[0]
    names = random.Random(job.seed).sample(sorted(split["train"]), job.row.cases)
    path = out / f"{job.name}.json"
    path.write_text(json.dumps([{"train": names, "val": split["val"]}]), encoding="utf-8")
    repeated = len(split["train"]) // job.row.cases
    return (f"data.split.file={path.absolute()}", f"training.patches_per_case={repeated}")


_WITHOUT_EXTRAS = (
    "evaluation.metrics=[dice]",
    "visualization.plot_training_curves=false",
    "visualization.plot_slices=false",
    "data.pin_memory=false",
    "training.num_threads=1",
)


def _keep_last_model(folder: Path) -> None:
    """Keep the averaged weights of the last epoch, without the state of the training."""
    from lunet_cli.engine.checkpoints.checkpoint import load_checkpoint, save_checkpoint

    last = load_checkpoint(folder / "last.pt")
    assert last.training is not None
    weights = last.training["average"] or last.weights
    save_checkpoint(replace(last, weights=weights, training=None), folder / "last_model.pt")
    (folder / "last.pt").unlink()


def table(rows: Sequence[Row], folder: Path) -> str:
    """Rows with Dice of the last and of the best epoch, and differences with their intervals."""
    from lunet_cli.engine.evaluation.summary import bootstrap_interval

    runs: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(folder.glob("*/recipe.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        runs.setdefault(record["row"], []).append(record)
    lines = [
        "| recipe | parameters | epochs | seconds | seeds | last epoch | by seed | best epoch | "
        "last minus base (95 % CI) |",
        "|---|--:|--:|--:|--:|--:|---|--:|---|",
    ]
    import numpy as np

    for row in rows:
        found = runs.get(row.name, [])
        if not found:
            continue
        seeds = [statistics.fmean(_per_case(run, "last").values()) for run in found]
        best = statistics.fmean(statistics.fmean(_per_case(run, "best").values()) for run in found)
        difference = ""
        if row.name != "base" and "base" in runs:
            ours, theirs = _mean_per_case(found), _mean_per_case(runs["base"])
            values = np.array([ours[case] - theirs[case] for case in ours])
            low, high = bootstrap_interval(values)
            difference = f"{values.mean():+.4f} ({low:+.4f} to {high:+.4f})"
        lines.append(
            f"| {row.name} | {found[0]['parameters']:,} | {found[0]['epochs']} | "
            f"{statistics.fmean(run['seconds'] for run in found):.0f} | {len(found)} | "
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
    command.add_argument("study", choices=STUDIES)
    command.add_argument("--data", type=Path, required=True)
    command.add_argument("--out", type=Path, required=True)
    command.add_argument("--jobs", type=int, default=1)
    command.add_argument("--seconds", type=float, default=1e6)
    command.add_argument("--set", action="append", default=[])
    command.add_argument("--only", action="append", help="name of a row; all if not given")
    command = commands.add_parser("table", help="print")
    command.add_argument("study", choices=STUDIES)
    command.add_argument("folder", type=Path)
    return parser.parse_args()


def main() -> None:
    """Train, or print the table."""
    arguments = _arguments()
    rows = STUDIES[arguments.study]
    if arguments.command == "table":
        print(table(rows, arguments.folder))
        return
    run(
        [row for row in rows if not arguments.only or row.name in arguments.only],
        arguments.data,
        arguments.out,
        jobs=arguments.jobs,
        seconds=arguments.seconds,
        more=arguments.set,
    )


if __name__ == "__main__":
    main()
