"""What benchmarks ask of nnU-Net; it runs in the environment of nnU-Net, without lunet.

`loaders.py` and `against_nnunet.py` start it; the folders are those of nnU-Net's own variables
(`nnUNet_raw`, `nnUNet_preprocessed`, `nnUNet_results`), with one data set, number 1. The last line
that it prints is a JSON object. Written for nnunetv2 2.8.1.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CONFIGURATION, PLANS = "3d_fullres", "nnUNetPlans"
PACKAGES = ("nnunetv2", "batchgeneratorsv2", "blosc2", "torch", "numpy")


def preprocessed() -> Path:
    """The folder with the plan of the data set."""
    name = "nnUNet_preprocessed"
    (folder,) = Path(os.environ[name]).glob("Dataset001_*")
    return folder


def prepare(processes: int, patch: list[int] | None, batch_size: int | None) -> dict[str, Any]:
    """Describe, plan and preprocess the data set, as `nnUNetv2_plan_and_preprocess` does.

    Args:
        processes: How many work at a time.
        patch: Patch size (z, y, x) in place of the planned one. It decides how nnU-Net cuts its
            files into chunks, so it is changed before they are written.
        batch_size: In place of the planned one.
    """
    from nnunetv2.experiment_planning import plan_and_preprocess_api as api

    begin = time.perf_counter()
    api.extract_fingerprints([1], num_processes=processes)
    api.plan_experiments([1])
    planned = time.perf_counter()
    path = preprocessed() / f"{PLANS}.json"
    plans = json.loads(path.read_text(encoding="utf-8"))
    configuration = plans["configurations"][CONFIGURATION]
    configuration["patch_size"] = patch or configuration["patch_size"]
    configuration["batch_size"] = batch_size or configuration["batch_size"]
    path.write_text(json.dumps(plans, indent=4), encoding="utf-8")
    api.preprocess([1], configurations=(CONFIGURATION,), num_processes=(processes,))
    done = time.perf_counter()
    return {
        "planning_seconds": planned - begin,
        "preprocessing_seconds": done - planned,
        "patch_size": configuration["patch_size"],
        "batch_size": configuration["batch_size"],
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Versions of what takes part."""
    return {package: importlib.metadata.version(package) for package in PACKAGES}


def new_trainer(class_: Any) -> Any:
    """A trainer of the first fold, for the processor."""
    import torch

    folder = preprocessed()
    plans = json.loads((folder / f"{PLANS}.json").read_text(encoding="utf-8"))
    description = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    plans["continue_training"] = False
    return class_(plans, CONFIGURATION, 0, description, torch.device("cpu"))


def draw(seconds: float, warm: int, share: float, *, augmented: bool) -> dict[str, Any]:
    """Patches per second of the training batches of nnU-Net's trainer.

    The number of its processes is that in `nnUNet_n_proc_DA`.
    """
    import torch
    from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
    from nnunetv2.training.nnUNetTrainer.variants.data_augmentation.nnUNetTrainerNoDA import (
        nnUNetTrainerNoDA,
    )

    torch.set_num_threads(1)
    begin = time.perf_counter()
    trainer = new_trainer(nnUNetTrainer if augmented else nnUNetTrainerNoDA)
    trainer.enable_deep_supervision = False  # Or each batch holds its labels several times.
    trainer.oversample_foreground_percent = share
    # So that it is this share of the patches. Without it, nnU-Net rounds up in each batch.
    trainer.probabilistic_oversampling = True
    trainer._set_batch_size_and_oversample()
    trainer.dataset_class = infer_dataset_class(trainer.preprocessed_dataset_folder)
    training, validation = trainer.get_dataloaders()
    if hasattr(validation, "_finish"):
        validation._finish()
    found = pace(((batch["data"], batch["target"]) for batch in training), begin, seconds, warm)
    if hasattr(training, "_finish"):
        training._finish()
    return found


def pace(batches: Iterator[Any], begin: float, seconds: float, warm: int) -> dict[str, Any]:
    """Draw batches of (image, label), each (B, C, D, H, W), for so many seconds.

    Args:
        batches: They never end.
        begin: When the preparation for the first one began.
        seconds: How long patches are counted.
        warm: Batches before that: more than workers keep ready.
    """
    image, label = next(batches)
    first = time.perf_counter()
    num_seen = num_labelled = 0
    for _ in range(warm):
        image, label = next(batches)
        num_seen += len(image)
        num_labelled += int((label.flatten(1) > 0).any(1).sum())
    start = now = time.perf_counter()
    num_patches = 0
    while now < start + seconds:
        num_patches += len(next(batches)[0])
        now = time.perf_counter()
    return {
        "first_patch_seconds": first - begin,
        "patches_per_second": num_patches / (now - start),
        "patches": num_patches,
        "labelled_share": num_labelled / num_seen,
        "shape": list(image.shape),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("prepare")
    command.add_argument("--processes", type=int, default=2)
    command.add_argument("--patch", type=int, nargs=3)
    command.add_argument("--batch-size", type=int)
    command = commands.add_parser("draw")
    command.add_argument("--seconds", type=float, required=True)
    command.add_argument("--warm", type=int, required=True)
    command.add_argument("--share", type=float, required=True)
    command.add_argument("--augmented", action="store_true")
    options = parser.parse_args()
    if options.command == "prepare":
        found = prepare(options.processes, options.patch, options.batch_size)
    else:
        found = draw(options.seconds, options.warm, options.share, augmented=options.augmented)
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
