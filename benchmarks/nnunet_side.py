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
EXPONENT = 0.9  # Of the schedule of nnU-Net.
PACKAGES = ("nnunetv2", "batchgeneratorsv2", "blosc2", "torch", "numpy")


def environment_of(folder: Path, *, num_workers: int, num_threads: int) -> dict[str, str]:
    """Variables of a process of nnU-Net's environment: folders, limits, none of our packages.

    Args:
        folder: Where `raw` lies, and the others go.
        num_workers: Processes that load and augment.
        num_threads: Threads of a process.
    """
    return {
        "nnUNet_raw": str(folder / "raw"),
        "nnUNet_preprocessed": str(folder / "preprocessed"),
        "nnUNet_results": str(folder / "results"),
        "nnUNet_n_proc_DA": str(num_workers),
        "nnUNet_def_n_proc": str(num_threads),
        "OMP_NUM_THREADS": str(num_threads),
        # As lunet has it: threads that wait do not spin, and so leave the cores to the workers.
        "GOMP_SPINCOUNT": "10000",
        "PYTHONPATH": "",
    }


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


def new_trainer(class_: Any, fold: int | str) -> Any:
    """A trainer for the processor; the fold `all` trains on all cases."""
    import torch

    folder = preprocessed()
    plans = json.loads((folder / f"{PLANS}.json").read_text(encoding="utf-8"))
    description = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    plans["continue_training"] = False
    return class_(plans, CONFIGURATION, fold, description, torch.device("cpu"))


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
    trainer = new_trainer(nnUNetTrainer if augmented else nnUNetTrainerNoDA, 0)
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


def learning_rate(initial: float, progress: float) -> float:
    """nnU-Net's polynomial schedule at a share of the training, 0 to 1."""
    return float(initial * (1 - progress) ** EXPONENT)


def train(seconds: float, seed: int, *, compiled: bool) -> dict[str, Any]:
    """Train on all cases for so long, by the trainer of nnU-Net and its steps.

    Its schedule is made for 1000 epochs of 250 steps. Here it ends with the time: the learning rate
    of each step is that of the share of the time that has gone. There is no validation on the way,
    nor a picture of it, which do not change the weights.

    Args:
        seconds: From here to the last step.
        seed: Of the weights; what workers draw is not seeded, as nnU-Net has it.
        compiled: Whether the network is compiled, which nnU-Net does on GPUs only.
    """
    import numpy as np
    import torch
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    torch.manual_seed(seed)
    np.random.seed(seed)
    begin = time.perf_counter()
    trainer = new_trainer(nnUNetTrainer, "all")
    if compiled:
        trainer._do_i_compile = lambda: True
    trainer.on_train_start()
    if hasattr(trainer.dataloader_val, "_finish"):
        trainer.dataloader_val._finish()
    trainer.network.train()
    first = time.perf_counter()
    num_steps, longest, last = 0, 0.0, first
    while last + longest < begin + seconds:
        rate = learning_rate(trainer.initial_lr, (last - begin) / seconds)
        for group in trainer.optimizer.param_groups:
            group["lr"] = rate
        trainer.train_step(next(trainer.dataloader_train))
        num_steps += 1
        now = time.perf_counter()
        longest, last = max(longest if num_steps > 2 else 0.0, now - last), now
    trainer.on_train_end()
    checkpoint = Path(trainer.output_folder) / "checkpoint_final.pth"
    return {
        "num_steps": num_steps,
        "beginning_seconds": first - begin,
        "training_seconds": time.perf_counter() - begin,
        "parameters": sum(weight.numel() for weight in trainer.network.parameters()),
        "model": str(checkpoint),
        "patch_size": trainer.configuration_manager.patch_size,
        "batch_size": trainer.batch_size,
    }


def predict(images: Path, output: Path, *, mirrored: bool) -> dict[str, Any]:
    """Segment a folder in one process, which is faster for small volumes than three."""
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    name = "nnUNet_results"
    (folder,) = Path(os.environ[name]).glob("Dataset001_*/*")
    predictor = nnUNetPredictor(
        use_mirroring=mirrored, device=torch.device("cpu"), allow_tqdm=False
    )
    predictor.initialize_from_trained_model_folder(str(folder), use_folds=("all",))
    output.mkdir(parents=True)
    begin = time.perf_counter()
    predictor.predict_from_files_sequential(str(images), str(output))
    return {"seconds": time.perf_counter() - begin}


def pace(batches: Iterator[Any], begin: float, seconds: float, warm: int) -> dict[str, Any]:
    """Draw batches of (image, label, ...), each (B, C, D, H, W), for so many seconds.

    Args:
        batches: They never end.
        begin: When the preparation for the first one began.
        seconds: How long patches are counted.
        warm: Batches before that: more than workers keep ready.
    """
    image, label, *_ = next(batches)
    first = time.perf_counter()
    num_seen = num_labelled = 0
    for _ in range(warm):
        image, label, *_ = next(batches)
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
    command = commands.add_parser("train")
    command.add_argument("--seconds", type=float, required=True)
    command.add_argument("--seed", type=int, default=1)
    command.add_argument("--compile", action="store_true")
    command = commands.add_parser("predict")
    command.add_argument("images", type=Path)
    command.add_argument("output", type=Path)
    command.add_argument("--mirrored", action="store_true")
    options = parser.parse_args()
    match options.command:
        case "prepare":
            found = prepare(options.processes, options.patch, options.batch_size)
        case "draw":
            found = draw(options.seconds, options.warm, options.share, augmented=options.augmented)
        case "train":
            found = train(options.seconds, options.seed, compiled=options.compile)
        case _:
            found = predict(options.images, options.output, mirrored=options.mirrored)
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
