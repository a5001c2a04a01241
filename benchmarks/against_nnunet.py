"""Accuracy, time and memory of lunet beside nnU-Net: same cases, same cores, same minutes.

    python benchmarks/against_nnunet.py prepare OUT --data FOLDER [--python NNUNET_PYTHON]
    python benchmarks/against_nnunet.py run OUT --minutes 10 30 60 [--entrants nnunet 4f 16f]
    python benchmarks/against_nnunet.py table OUT

`FOLDER` has a `dataset.json` and a `splits.json`; the validation cases of its first fold are held
out: neither tool sees them before they are predicted. `prepare` links the others to `OUT`, and lets
nnU-Net describe, plan and preprocess them. Without `--python`, it makes nnU-Net's environment first
(`OUT/venv`, with the packages of `NNUNET_PACKAGES`).

`run` trains each entrant for each number of minutes, predicts the held-out cases and scores them as
`lunet score` does, one after the other on `--cpus`. nnU-Net trains on all cases given, by its plan,
loader, augmentation, loss and optimiser, with a learning rate that ends with the time. Its minutes
begin after its preprocessing, which is stated apart. lunet is `lunet train --data --minutes`: its
minutes include looking at the data, planning and preprocessing, and it keeps a tenth of the cases
to validate with. `plan` leaves the network to the plan, `1f` to `16f` are presets `lunet_small_`.
Nothing is chosen by the held-out cases: of nnU-Net, the last weights are taken, of lunet the best
ones by its own validation.

Each result is a file in `OUT/results`; what is there is not done again. `table` prints them: Dice
with 95 % bootstrap intervals over cases (means over seeds), differences in pairs, and what each
took. Seconds per case are those in a process that has its network: reading, predicting, writing.
MONAI's DynUNet is not here: it is nnU-Net's network, and MONAI has no recipe of its own for it.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from measured import CommandFailedError, Measured, leave_at_sigterm, run_measured
from nnunet_side import environment_of

NNUNET_PACKAGES = ("torch==2.13.0", "nnunetv2==2.8.1")
NAME = "Dataset001_Given"
NNUNET, UNMIRRORED = "nnunet", "nnunet without mirroring"
ENTRANTS = (NNUNET, "plan", "1f", "2f", "4f", "8f", "16f")
SIDE = Path(__file__).with_name("nnunet_side.py")
NIFTI = ".nii.gz"
VALIDATION_SHARE = 0.1


def prepare(options: argparse.Namespace) -> None:
    """Divide the cases, and make all that nnU-Net needs before it trains."""
    out: Path = options.out
    python = options.python or make_environment(out / "venv")
    split_cases(options.data, out)
    for name in ("preprocessed", "results"):
        shutil.rmtree(out / "nnunet" / name, ignore_errors=True)
    environment = environment_of(out / "nnunet", num_workers=1, num_threads=1)
    environment |= {"nnUNet_raw": str(out / "raw")}
    num_cpus = str(len(options.cpus.split(",")))
    command = [python, SIDE, "prepare", "--processes", num_cpus]
    took = run_measured(pinned(command, options.cpus), out / "logs" / "prepare.log", environment)
    record = asdict(took) | {"python": str(Path(python).absolute()), "cpus": options.cpus}
    write_record(out / "prepared.json", record)
    print(f"nnU-Net has prepared the cases in {took.seconds:.0f} s: {json.dumps(took.found)}")


def make_environment(folder: Path) -> Path:
    """Install nnU-Net into an environment of its own."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", *NNUNET_PACKAGES], check=True)
    return python


def split_cases(data: Path, out: Path) -> None:
    """Link training cases to `OUT/raw` and the others to `OUT/held_out`, as nnU-Net names them."""
    description = json.loads((data / "dataset.json").read_text(encoding="utf-8"))
    names = [data / "splits.json", data / "splits_final.json"]
    splits = json.loads(next(path for path in names if path.exists()).read_text(encoding="utf-8"))
    split = splits[0] if isinstance(splits, list) else splits
    for cases, folder, suffix in (
        (split["train"], out / "raw" / NAME, "Tr"),
        (split["val"], out / "held_out", "Ts"),
    ):
        shutil.rmtree(folder, ignore_errors=True)
        for kind in ("images", "labels"):
            (folder / f"{kind}{suffix}").mkdir(parents=True)
        for case in cases:
            image = data / "imagesTr" / f"{case}{NIFTI}"
            if not image.exists():
                image = image.with_name(f"{case}_0000{NIFTI}")
            link = folder / f"images{suffix}" / f"{case}_0000{NIFTI}"
            link.symlink_to(image.resolve(strict=True))
            label = (data / "labelsTr" / f"{case}{NIFTI}").resolve(strict=True)
            (folder / f"labels{suffix}" / label.name).symlink_to(label)
        plain = as_nnunet_describes(description, len(cases))
        (folder / "dataset.json").write_text(json.dumps(plain), encoding="utf-8")


def as_nnunet_describes(description: dict[str, Any], num_cases: int) -> dict[str, Any]:
    """A `dataset.json` of nnU-Net, made of that or of one of the Decathlon; one channel only."""
    channels = description.get("channel_names") or description["modality"]
    if len(channels) > 1:
        raise SystemExit(f"dataset.json: {len(channels)} channels; this comparison takes one")
    labels = description["labels"]
    if "0" in labels:
        labels = {name: int(value) for value, name in labels.items()}
    return {
        "channel_names": channels,
        "labels": labels,
        "numTraining": num_cases,
        "file_ending": NIFTI,
    }


def pinned(command: Sequence[str | Path], cpus: str) -> list[str | Path]:
    """The same command on these processors only."""
    return ["taskset", "-c", cpus, *command]


def write_record(path: Path, record: dict[str, Any]) -> None:
    """Write a file that appears whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(record), encoding="utf-8")
    partial.replace(path)


def read_prepared(out: Path) -> dict[str, Any]:
    """The record of `prepare`."""
    path = out / "prepared.json"
    if not path.exists():
        raise SystemExit(f"{path} is not there; begin with: prepare {out} --data FOLDER")
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return record


def run(options: argparse.Namespace) -> None:
    """Train, predict and score what has no record yet."""
    prepared = read_prepared(options.out)
    for minutes in options.minutes:
        for seed in range(1, options.seeds + 1):
            for entrant in options.entrants:
                name = f"{entrant}_{minutes:g}min_seed{seed}"
                record = options.out / "results" / f"{name}.json"
                if record.exists():
                    continue
                folder = options.out / "work" / name
                shutil.rmtree(folder, ignore_errors=True)
                contest = Contest(options, prepared, folder, minutes, seed)
                load = os.getloadavg()[0]
                try:
                    train = contest.nnunet if entrant == NNUNET else contest.lunet
                    found = train(entrant)
                except CommandFailedError as error:
                    print(f"{name}: {error}", file=sys.stderr)
                    continue
                found |= {"minutes": minutes, "seed": seed, "load_before": load}
                found |= {"load_after": os.getloadavg()[0]}
                write_record(record, found)
                for one in found["predictions"]:
                    mean = statistics.fmean(means_of_cases(one["dice"]).values())
                    print(f"{name}, {one['variant']}: Dice {mean:.4f}", flush=True)


class Contest:
    """A training of one entrant, and its predictions.

    Args:
        options: Of the command.
        prepared: The record of `prepare`.
        folder: For all that is written.
        minutes: The time to train.
        seed: Of the training.
    """

    def __init__(
        self,
        options: argparse.Namespace,
        prepared: dict[str, Any],
        folder: Path,
        minutes: float,
        seed: int,
    ) -> None:
        self._out: Path = options.out
        self._num_workers: int = options.nnunet_workers
        self._compile: bool = options.nnunet_compile
        self._cpus: str = prepared["cpus"]
        self._python: str = prepared["python"]
        self._folder, self._minutes, self._seed = folder, minutes, seed

    def nnunet(self, entrant: str) -> dict[str, Any]:
        """nnU-Net, with and without its mirroring."""
        command: list[str | Path] = ["train", "--seconds", str(60 * self._minutes)]
        command += ["--seed", str(self._seed)]
        if self._compile:
            command.append("--compile")
        training = self._measure([self._python, SIDE, *command], "train", self._nnunet_variables())
        predictions = []
        for variant, more in ((NNUNET, ["--mirrored"]), (UNMIRRORED, [])):
            masks = self._folder / variant.replace(" ", "_")
            command = ["predict", self._out / "held_out" / "imagesTs", masks, *more]
            took = self._measure(
                [self._python, SIDE, *command], masks.name, self._nnunet_variables()
            )
            predictions.append(self._scored(variant, masks, took))
        return self._record(entrant, training, Path(training.found["model"]), predictions)

    def _nnunet_variables(self) -> dict[str, str]:
        variables = environment_of(
            self._out / "nnunet", num_workers=self._num_workers, num_threads=self._num_threads
        )
        variables["nnUNet_raw"] = str(self._out / "raw")
        variables["nnUNet_results"] = str(self._folder)
        return variables

    def lunet(self, entrant: str) -> dict[str, Any]:
        """A planned training of lunet."""
        settings = {
            "experiment.output_dir": self._folder,
            "experiment.name": "run",
            "experiment.seed": self._seed,
            "data.split.val_fraction": VALIDATION_SHARE,
        }
        command: list[str | Path] = [sys.executable, "-m", "lunet_cli", "train"]
        command += ["--data", self._out / "raw" / NAME, "--minutes", f"{self._minutes:g}"]
        command += [f"--set={key}={value}" for key, value in settings.items()]
        if entrant != "plan":
            command += ["--arch", f"lunet_small_{entrant}"]
        variables = {"OMP_NUM_THREADS": str(self._num_threads)}
        training = self._measure(command, "train", variables)
        model, masks = self._folder / "run" / "best_model.pt", self._folder / "masks"
        images = self._out / "held_out" / "imagesTs"
        command = [sys.executable, __file__, "predict", model, images, masks]
        took = self._measure(command, "predict", variables)
        training.found.update(took.found)
        return self._record(entrant, training, model, [self._scored(entrant, masks, took)])

    @property
    def _num_threads(self) -> int:
        return len(self._cpus.split(","))

    def _measure(
        self, command: Sequence[str | Path], name: str, variables: dict[str, str]
    ) -> Measured:
        log = self._out / "logs" / f"{self._folder.name}_{name}.log"
        return run_measured(pinned(command, self._cpus), log, variables)

    def _scored(self, variant: str, masks: Path, took: Measured) -> dict[str, Any]:
        """Dice of each case and label, and what the prediction took."""
        dice = dice_of(masks, self._out / "held_out" / "labelsTs")
        per_case = took.found["seconds"] / len(dice)
        return {
            "variant": variant,
            "dice": dice,
            "seconds_per_case": per_case,
            "peak": asdict(took.peak),
        }

    def _record(
        self,
        entrant: str,
        training: Measured,
        model: Path,
        predictions: list[dict[str, Any]],
    ) -> dict[str, Any]:
        from lunet_cli.engine.provenance import machine_name, versions

        return {
            "entrant": entrant,
            "training": asdict(training),
            "model_bytes": model.stat().st_size,
            "predictions": predictions,
            "machine": f"{machine_name()}, CPUs {self._cpus} of {os.cpu_count()}",
            "versions": versions(),
        }


def dice_of(masks: Path, references: Path) -> dict[str, dict[str, float]]:
    """Dice by case and label, as `lunet score` measures it."""
    import lunet_cli as lunet

    options = lunet.EvaluationOptions(metrics=("dice",))
    found = lunet.score(masks, references, output=masks / "scores", options=options)
    if found.failures:
        raise CommandFailedError(f"{masks}: {found.failures[0]}")
    dice: dict[str, dict[str, float]] = {}
    for score in found.scores:
        dice.setdefault(score.case, {})[score.label] = score.values["dice"]
    return dice


def predict(model: Path, images: Path, masks: Path) -> dict[str, Any]:
    """Segment a folder by lunet, and count the parameters."""
    import lunet_cli as lunet
    from lunet_cli.config.network_cost import count_parameters

    predictor = lunet.load_model(model)
    begin = time.perf_counter()
    lunet.predict(predictor, images, masks)
    seconds = time.perf_counter() - begin
    spec = predictor.card.network
    return {"seconds": seconds, "parameters": count_parameters(spec)}


def means_of_cases(dice: dict[str, dict[str, float]]) -> dict[str, float]:
    """Mean over the labels of each case."""
    return {case: statistics.fmean(by_label.values()) for case, by_label in dice.items()}


def mean_over_seeds(
    predictions: Sequence[dict[str, Any]], label: str | None = None
) -> dict[str, float]:
    """Dice of each case, of one label or the mean of all."""
    per_seed = []
    for one in predictions:
        if label is None:
            per_seed.append(means_of_cases(one["dice"]))
        else:
            per_seed.append({case: by_label[label] for case, by_label in one["dice"].items()})
    return {case: statistics.fmean(seed[case] for seed in per_seed) for case in per_seed[0]}


def interval(values: Sequence[float]) -> str:
    """A mean with its interval."""
    bootstrap = importlib.import_module("lunet_cli.engine.evaluation.summary").bootstrap_interval
    low, high = bootstrap(np.array(values))
    return f"{statistics.fmean(values):.4f} ({low:.4f} to {high:.4f})"


def table(records: Sequence[dict[str, Any]]) -> str:
    """Markdown: a row for each number of minutes and way to predict.

    Args:
        records: Those of `run`.
    """
    groups: dict[tuple[float, str], list[tuple[dict[str, Any], dict[str, Any]]]] = {}
    for record in records:
        for prediction in record["predictions"]:
            key = (record["minutes"], prediction["variant"])
            groups.setdefault(key, []).append((record, prediction))
    if not groups:
        return "nothing has been measured"
    labels = list(next(iter(records[0]["predictions"][0]["dice"].values())))
    lines = [
        f"| minutes | | parameters | file | seeds | Dice (95 % CI) | {' | '.join(labels)} | "
        "minus nnU-Net (95 % CI) | peak memory training | predicting | s per case | s used |",
        "|--:|---|--:|--:|--:|---" + "|--:" * len(labels) + "|---|--:|--:|--:|--:|",
    ]
    order = [NNUNET, UNMIRRORED, *ENTRANTS[1:]]
    for key in sorted(groups, key=lambda key: (key[0], order.index(key[1]))):
        reference = groups.get((key[0], NNUNET), [])
        lines.append(_row(key, groups[key], [one for _, one in reference], labels))
    return "\n".join(lines)


def _row(
    key: tuple[float, str],
    group: Sequence[tuple[dict[str, Any], dict[str, Any]]],
    reference: Sequence[dict[str, Any]],
    labels: Sequence[str],
) -> str:
    minutes, variant = key
    records, predictions = zip(*group, strict=True)
    dice = mean_over_seeds(predictions)
    difference = ""
    if reference and variant != NNUNET:
        theirs = mean_over_seeds(reference)
        difference = interval([dice[case] - theirs[case] for case in dice])
    per_label = []
    for label in labels:
        per_label.append(f"{statistics.fmean(mean_over_seeds(predictions, label).values()):.4f}")
    training = max(record["training"]["peak"]["resident_mib"] for record in records)
    predicting = max(one["peak"]["resident_mib"] for one in predictions)
    per_case = statistics.fmean(one["seconds_per_case"] for one in predictions)
    used = statistics.fmean(record["training"]["seconds"] for record in records)
    return (
        f"| {minutes:g} | {_title(variant)} | {records[0]['training']['found']['parameters']:,} | "
        f"{records[0]['model_bytes'] / 1024:,.0f} KiB | {len(records)} | "
        f"{interval(list(dice.values()))} | {' | '.join(per_label)} | {difference} | "
        f"{training:,.0f} MiB | {predicting:,.0f} MiB | {per_case:.2f} | {used:.0f} |"
    )


def _title(variant: str) -> str:
    if variant in (NNUNET, UNMIRRORED):
        return variant.replace(NNUNET, "nnU-Net")
    return f"lunet, {variant}"


def print_table(out: Path) -> None:
    """Print the table, and where its numbers come from."""
    paths = sorted((out / "results").glob("*.json"))
    records = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    for machine in sorted({record["machine"] for record in records}):
        print(f"{machine}; lunet's {records[0]['versions']}")
    prepared = read_prepared(out)
    print(f"nnU-Net planned and preprocessed in {prepared['seconds']:.0f} s: {prepared['found']}")
    for record in records:
        if record["entrant"] == NNUNET:
            steps = record["training"]["found"]["num_steps"]
            print(f"nnU-Net, {record['minutes']:g} minutes, seed {record['seed']}: {steps} steps")
    load = max((record["load_before"] for record in records), default=0.0)
    print(f"load before a training: at most {load:.1f}\n\n{table(records)}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("prepare", help="divide the cases, let nnU-Net preprocess them")
    command.add_argument("out", type=Path)
    command.add_argument("--data", type=Path, required=True)
    command.add_argument("--python", type=Path, help="the interpreter of nnU-Net's environment")
    command.add_argument("--cpus", default="0,1", help="processors, as taskset takes them")
    command = commands.add_parser("run", help="train, predict and score")
    command.add_argument("out", type=Path)
    command.add_argument("--minutes", type=float, nargs="+", default=[10.0])
    command.add_argument(
        "--entrants", nargs="+", choices=ENTRANTS, default=[NNUNET, "plan", "1f", "4f", "16f"]
    )
    command.add_argument("--seeds", type=int, default=1)
    command.add_argument("--nnunet-workers", type=int, default=1)
    command.add_argument("--nnunet-compile", action="store_true")
    commands.add_parser("table", help="print").add_argument("out", type=Path)
    command = commands.add_parser("predict", help="used by run")
    for name in ("model", "images", "masks"):
        command.add_argument(name, type=Path)
    options = parser.parse_args()
    leave_at_sigterm()
    match options.command:
        case "prepare":
            options.out, options.data = options.out.absolute(), options.data.absolute()
            try:
                prepare(options)
            except CommandFailedError as error:
                raise SystemExit(str(error)) from None
        case "run":
            options.out = options.out.absolute()
            run(options)
        case "table":
            print_table(options.out)
        case _:
            print(json.dumps(predict(options.model, options.images, options.masks)))


if __name__ == "__main__":
    main()
