"""Patches per second from whole volumes: ours beside MONAI's and nnU-Net's, from the same files.

    python benchmarks/loaders.py OUT --python NNUNET_PYTHON [--cases 8] [--edge 96] [--rounds 3]

`OUT/data` is what `benchmarks/large_volumes.py OUT` has written; the first `--cases` are used, of
which one validates. `--python` is the interpreter of an environment with nnU-Net (`pip install
torch==2.13.0 nnunetv2==2.8.1`); without it, nnU-Net is left out. What is compared:

- lunet: the loader of a training, which maps preprocessed volumes (`data.cache=disk`).
- nnU-Net: the loader of its trainer, from the compressed files (blosc2, `.b2nd`) that its own
  preprocessing writes. It is told the patch size before that, for it cuts the files accordingly.
- MONAI PersistentDataset: volumes as its cache on disk keeps them.
- MONAI CacheDataset: volumes in memory.

All draw patches of `--edge`^3 in batches of two; `--share` of them lie around a labelled voxel,
each label as often. MONAI draws `--samples` patches from each volume that it opens, the others one.
It keeps labels as bytes and 10,000 places of each label, as the others do, so that it gets by with
less memory than it would by itself. `standard` is the augmentation that each one has: nnU-Net's of
its trainer, ours, and MONAI's transforms with our probabilities (`benchmarks/augmentation.py`).

Each way is prepared once, with two processes. Then each runs in a process of its own, in an
environment of its own, one thread per process, in turn, round by round: it starts, draws until its
workers' stocks are used up, and counts patches for `--seconds`. Peak memory is that of the process
and its workers together. All is kept in `OUT/loaders/`, and what is there is not done again; the
table at the end is made of it. Linux only. MONAI needs nibabel.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measured import CommandFailedError, leave_at_sigterm, run_measured
from nnunet_side import environment_of, pace

from lunet_cli.config.load import load_config
from lunet_cli.engine.provenance import machine_name, versions
from lunet_cli.engine.training.setup import set_up

NUM_VALUES = 4  # Background and three labels.
NUM_PLACES = 10_000  # That ours and nnU-Net's keep of each label.
BATCH_SIZE = 2
NUM_WARM = 12  # More batches than any way's workers keep ready.
NNUNET = "nnU-Net"
WAYS = ("lunet", NNUNET, "MONAI PersistentDataset", "MONAI CacheDataset")
LEVELS = ("none", "standard")
ASKED = ("cases", "edge", "samples", "seconds", "share")
SIDE = Path(__file__).with_name("nnunet_side.py")


def ours(options: argparse.Namespace) -> Iterator[Any]:
    """Batches of a training, which maps preprocessed volumes."""
    edge = options.edge
    settings = [
        f"data.root={options.out / 'few'}",
        "data.cache=disk",
        f"data.cache_dir={options.out / 'loaders' / 'lunet'}",
        f"data.num_workers={options.workers}",
        "data.persistent_workers=true",
        "data.split.val_fraction=0.01",
        "preprocessing.normalization.name=ct_window",
        f"training.patch_size=[{edge}, {edge}, {edge}]",
        f"training.batch_size={BATCH_SIZE}",
        "training.patches_per_case=1000",
        f"training.foreground_fraction={options.share}",
        f"augmentation.level={options.level}",
    ]
    setup = set_up(load_config(None, settings), lambda event: None)
    for epoch in itertools.count():
        setup.sampler.epoch, setup.sampler.first_step = epoch, 0
        yield from setup.loader


def monai_volumes(options: argparse.Namespace) -> Any:
    """MONAI's data set, with the places of labelled voxels kept beside each volume."""
    from augmentation import monai_transforms
    from monai import data, transforms

    both, places, root = ["image", "label"], "label_cls_indices", options.out / "few"
    size = (options.edge,) * 3
    of_label = options.share / (NUM_VALUES - 1)
    steps: list[Any] = [
        transforms.LoadImaged(both, reader="NibabelReader", ensure_channel_first=True),
        transforms.CastToTyped("label", np.uint8),
        transforms.ScaleIntensityRanged("image", -160, 240, 0, 1, clip=True),
        transforms.ClassesToIndicesd(
            "label", num_classes=NUM_VALUES, max_samples_per_class=NUM_PLACES
        ),
        transforms.RandCropByLabelClassesd(
            both,
            label_key="label",
            spatial_size=size,
            ratios=[1 - options.share, *[of_label] * (NUM_VALUES - 1)],
            num_classes=NUM_VALUES,
            num_samples=options.samples,
            indices_key=places,
        ),
    ]
    if options.level == "standard":
        steps += monai_transforms(size)
    files = []
    for label in sorted((root / "labelsTr").iterdir())[:-1]:  # The last one validates.
        name = label.name.removesuffix(".nii.gz")
        files.append({"image": root / "imagesTr" / f"{name}_0000.nii.gz", "label": label})
    if options.way == "MONAI CacheDataset":
        return data.CacheDataset(files, steps, num_workers=2, progress=False, copy_cache=False)
    return data.PersistentDataset(files, steps, cache_dir=cache_folder(options.out, options.way))


def monai_batches(options: argparse.Namespace, num_workers: int) -> Iterator[Any]:
    """Batches of the patches of one volume each, over and over."""
    from monai.data.dataloader import DataLoader

    loader = DataLoader(
        monai_volumes(options),
        batch_size=1,
        shuffle=True,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
    )
    while True:
        for batch in loader:
            yield batch["image"], batch["label"]


def cache_folder(out: Path, way: str) -> Path:
    """Where a way keeps what it prepared."""
    return Path(out / "loaders" / way.replace(" ", "_").lower())


def be_one(options: argparse.Namespace) -> dict[str, Any]:
    """Prepare a way that runs here, or draw its patches."""
    torch.set_num_threads(1)
    if options.way != "lunet":
        import_module("monai.data.dataloader")  # Ours is imported, too, when the clock starts.
        import_module("monai.transforms")
    begin = time.perf_counter()
    if options.prepare:
        seen = ours(options) if options.way == "lunet" else monai_batches(options, 2)
        # An epoch of MONAI's has each volume once, and so writes them all.
        for _ in range(options.cases):
            next(seen)
        return {"versions": versions()}
    batches = ours(options) if options.way == "lunet" else monai_batches(options, options.workers)
    return pace(batches, begin, options.seconds, NUM_WARM)


def link(source: Path, root: Path, num_cases: int) -> None:
    """Make a data set of the first cases, by links."""
    shutil.rmtree(root, ignore_errors=True)
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir(parents=True)
        for path in sorted((source / folder).iterdir())[:num_cases]:
            (root / folder / path.name).symlink_to(path.resolve())
    description = json.loads((source / "dataset.json").read_text(encoding="utf-8"))
    description["numTraining"] = num_cases
    (root / "dataset.json").write_text(json.dumps(description), encoding="utf-8")


def asked_of(options: argparse.Namespace) -> dict[str, Any]:
    """What a measurement of patches depends on."""
    return {name: getattr(options, name) for name in ASKED}


def read_kept(path: Path, asked: dict[str, Any]) -> dict[str, Any] | None:
    """A record, if it is there and is of what is asked now."""
    if not path.exists():
        return None
    kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if kept["asked"] != asked:
        return None
    return kept


def prepare(way: str, options: argparse.Namespace) -> dict[str, Any]:
    """Read and preprocess the volumes once, and say what it took."""
    folder = cache_folder(options.out, way)
    record = folder.with_suffix(".json")
    asked = {"cases": options.cases, "edge": options.edge}
    kept = read_kept(record, asked)
    if kept is not None:
        return kept
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    log = options.out / "loaders" / "logs" / f"{folder.name}_prepare.log"
    if way == NNUNET:
        link(options.out / "data", folder / "raw" / "Dataset001_Large", options.cases)
        split_as_ours(options.out / "few", folder / "preprocessed" / "Dataset001_Large")
        edge = [str(options.edge)] * 3
        command = [options.python, SIDE, "prepare", "--patch", *edge]
        command += ["--batch-size", str(BATCH_SIZE)]
        took = run_measured(command, log, environment_of(folder, num_workers=2, num_threads=1))
    else:
        took = run_measured(own_command(way, options, "--prepare"), log, {"OMP_NUM_THREADS": "1"})
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    found = {
        "way": way,
        "asked": asked,
        "seconds": took.seconds,
        "mib_on_disk": sum(path.stat().st_size for path in files) / 2**20,
        "peak": asdict(took.peak),
        "found": took.found,
    }
    record.write_text(json.dumps(found), encoding="utf-8")
    return found


def split_as_ours(root: Path, folder: Path) -> None:
    """The last case validates."""
    names = [path.name.removesuffix(".nii.gz") for path in sorted((root / "labelsTr").iterdir())]
    folder.mkdir(parents=True)
    split = [{"train": names[:-1], "val": names[-1:]}]
    (folder / "splits_final.json").write_text(json.dumps(split), encoding="utf-8")


def own_command(way: str, options: argparse.Namespace, *more: str) -> list[str | Path]:
    """This script, as one of the ways."""
    command: list[str | Path] = [sys.executable, __file__, options.out, "--way", way, *more]
    for name in ASKED:
        command += [f"--{name}", str(getattr(options, name))]
    return command


def draw(way: str, level: str, workers: int, number: int, options: argparse.Namespace) -> None:
    """Measure a way once, unless that has been done."""
    folder = cache_folder(options.out, way)
    name = f"{folder.name}_{level}_{workers}_round{number}"
    record = options.out / "loaders" / "rounds" / f"{name}.json"
    asked = asked_of(options)
    if read_kept(record, asked) is not None:
        return
    log = options.out / "loaders" / "logs" / f"{name}.log"
    if way == NNUNET:
        command = [options.python, SIDE, "draw", "--seconds", str(options.seconds)]
        command += ["--warm", str(NUM_WARM), "--share", str(options.share)]
        command += ["--augmented"] if level == "standard" else []
        environment = environment_of(folder, num_workers=workers, num_threads=1)
    else:
        command = own_command(way, options, "--level", level, "--workers", str(workers))
        environment = {"OMP_NUM_THREADS": "1"}
    load = os.getloadavg()[0]
    try:
        took = run_measured(command, log, environment)
    except CommandFailedError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return
    found = took.found | asdict(took.peak) | {"asked": asked, "load_before": load}
    found |= {"way": way, "level": level, "workers": workers}
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text(json.dumps(found), encoding="utf-8")
    print(f"{name}: {found['patches_per_second']:.1f} patches/s", file=sys.stderr, flush=True)


def table(prepared: list[dict[str, Any]], rounds: list[dict[str, Any]]) -> str:
    """Markdown: what preparing took, then patches per second by augmentation and workers.

    Args:
        prepared: Records of `prepare`.
        rounds: Records of `draw`.
    """
    lines = ["| way | preparing | on disk | peak memory |", "|---|--:|--:|--:|"]
    for one in prepared:
        lines.append(
            f"| {one['way']} | {one['seconds']:.0f} s | {one['mib_on_disk']:,.0f} MiB | "
            f"{one['peak']['resident_mib']:,.0f} MiB |"
        )
    lines += [
        "",
        "| augmentation | workers | way | patches/s (range) | of lunet's | first batch | "
        "peak memory | without mapped files |",
        "|---|--:|---|--:|--:|--:|--:|--:|",
    ]
    groups: dict[tuple[str, int, str], list[dict[str, Any]]] = {}
    for one in rounds:
        groups.setdefault((one["level"], one["workers"], one["way"]), []).append(one)
    order = itertools.product(LEVELS, sorted({key[1] for key in groups}), WAYS)
    for key in order:
        if key in groups:
            lines.append(_row(key, groups[key], groups.get((*key[:2], "lunet"), [])))
    return "\n".join(lines)


def _row(
    key: tuple[str, int, str], rounds: list[dict[str, Any]], reference: list[dict[str, Any]]
) -> str:
    level, workers, way = key
    paces = [one["patches_per_second"] for one in rounds]
    ratio = "-"
    if reference:
        ours_ = statistics.median(one["patches_per_second"] for one in reference)
        ratio = f"{statistics.median(paces) / ours_:.2f}"
    first = statistics.median(one["first_patch_seconds"] for one in rounds)
    resident = max(one["resident_mib"] for one in rounds)
    own = max(one["own_mib"] for one in rounds)
    return (
        f"| {level} | {workers} | {way} | {statistics.median(paces):.1f} "
        f"({min(paces):.1f} to {max(paces):.1f}) | {ratio} | {first:.1f} s | "
        f"{resident:,.0f} MiB | {own:,.0f} MiB |"
    )


def compare(options: argparse.Namespace) -> None:
    """Prepare all ways, measure them in turn, and print the table."""
    ways = [way for way in options.ways if way != NNUNET or options.python]
    link(options.out / "data", options.out / "few", options.cases)
    prepared = [prepare(way, options) for way in ways if way != "MONAI CacheDataset"]
    rounds = itertools.product(range(options.rounds), options.levels, options.num_workers, ways)
    for number, level, workers, way in rounds:
        draw(way, level, workers, number, options)
    paths = sorted((options.out / "loaders" / "rounds").glob("*.json"))
    kept = [read_kept(path, asked_of(options)) for path in paths]
    found = [one for one in kept if one is not None]
    print(f"{machine_name()}, {os.cpu_count()} CPUs, load before a round at most", end=" ")
    print(f"{max((one['load_before'] for one in found), default=0.0):.1f}; {versions()}")
    for one in prepared:
        if one["way"] == NNUNET:
            print(f"nnU-Net's: {one['found']['versions']}")
    print(f"\n{table(prepared, found)}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--python", type=Path, help="the interpreter of nnU-Net's environment")
    parser.add_argument("--cases", type=int, default=8)
    parser.add_argument("--edge", type=int, default=96)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--share", type=float, default=0.33)
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--levels", nargs="+", choices=LEVELS, default=LEVELS)
    parser.add_argument("--num-workers", nargs="+", type=int, default=[0, 2])
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--prepare", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--level", choices=LEVELS, default="none", help=argparse.SUPPRESS)
    parser.add_argument("--workers", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    leave_at_sigterm()
    options.out = options.out.absolute()
    if options.way is None:
        try:
            compare(options)
        except CommandFailedError as error:
            raise SystemExit(str(error)) from None
    else:
        print(json.dumps(be_one(options)), flush=True)


if __name__ == "__main__":
    main()
