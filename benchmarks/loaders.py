"""Patches per second from whole volumes: ours beside MONAI's, from the same files.

    python benchmarks/loaders.py OUT [--cases 2] [--patches 64] [--edge 96]

`OUT/data` is what `benchmarks/large_volumes.py OUT` has written; the first `--cases` are used. Each
way runs in a process of its own with one thread: it prepares the volumes once (reading,
normalising, finding labelled voxels), then draws patches, half of them around a labelled voxel:
single ones here, `--samples` of each volume that MONAI opens. Nothing is augmented;
`benchmarks/augmentation.py` measures that. MONAI reads NIfTI by nibabel, which has to be installed
for this.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from lunet_cli.config.load import load_config
from lunet_cli.engine.training.setup import set_up

NUM_VALUES = 4  # Background and three labels.


def ours(root: Path, scratch: Path, edge: int, samples: int) -> Iterator[Any]:
    """Items of the data set of a training, which maps preprocessed volumes."""
    settings = [
        f"data.root={root}",
        "data.cache=disk",
        f"data.cache_dir={scratch}",
        "preprocessing.normalization.name=ct_window",
        f"training.patch_size=[{edge}, {edge}, {edge}]",
        "training.batch_size=1",
        f"training.patches_per_case={samples}",
        "training.foreground_fraction=0.5",
        "augmentation.enabled=false",
        "data.split.val_fraction=0.01",
    ]
    setup = set_up(load_config(None, settings), lambda event: None)
    for epoch in itertools.count():
        setup.sampler.epoch, setup.sampler.first_step = epoch, 0
        yield from setup.loader


def of_monai(kind: str) -> Callable[[Path, Path, int, int], Iterator[Any]]:
    """MONAI's data sets, with the places of labelled voxels kept beside each volume."""

    def draw(root: Path, scratch: Path, edge: int, samples: int) -> Iterator[Any]:
        from monai import data, transforms

        both = ["image", "label"]
        indices = "label_cls_indices"
        steps = [
            transforms.LoadImaged(both, reader="NibabelReader", ensure_channel_first=True),
            transforms.ScaleIntensityRanged("image", -160, 240, 0, 1, clip=True),
            transforms.ClassesToIndicesd("label", num_classes=NUM_VALUES),
            transforms.RandCropByLabelClassesd(
                both,
                label_key="label",
                spatial_size=(edge,) * 3,
                ratios=[3, 1, 1, 1],
                num_classes=NUM_VALUES,
                num_samples=samples,
                indices_key=indices,
            ),
        ]
        files = []
        for label in sorted((root / "labelsTr").iterdir()):
            name = label.name.removesuffix(".nii.gz")
            files.append({"image": root / "imagesTr" / f"{name}_0000.nii.gz", "label": label})
        # The last case validates on our side.
        kept: Any
        if kind == "CacheDataset":
            kept = data.CacheDataset(
                files[:-1], steps, num_workers=1, progress=False, copy_cache=False
            )
        else:
            kept = data.PersistentDataset(files[:-1], steps, cache_dir=scratch)
        for index in itertools.count():
            yield from kept[index % len(kept)]

    return draw


WAYS = {
    "lunet": ours,
    "MONAI CacheDataset": of_monai("CacheDataset"),
    "MONAI PersistentDataset": of_monai("PersistentDataset"),
}


def measure(way: str, root: Path, scratch: Path, options: argparse.Namespace) -> dict[str, float]:
    """Seconds until the first patch, patches per second after it, and memory."""
    torch.set_num_threads(1)
    begin = time.perf_counter()
    patches = WAYS[way](root, scratch, options.edge, options.samples)
    next(patches)
    prepared = time.perf_counter()
    for _ in itertools.islice(patches, options.patches):
        pass
    seconds = time.perf_counter() - prepared
    return {
        "seconds to the first patch": round(prepared - begin, 1),
        "patches per second": round(options.patches / seconds, 2),
        "peak memory MiB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def main() -> None:
    """Measure each way in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--cases", type=int, default=2)
    parser.add_argument("--patches", type=int, default=64)
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--edge", type=int, default=96)
    parser.add_argument("--way", choices=WAYS)
    options = parser.parse_args()
    root, scratch = options.out / "few", options.out / "loaders"
    if options.way is not None:
        print(json.dumps(measure(options.way, root, scratch, options)))
        return
    link(options.out / "data", root, options.cases + 1)
    for way, start in itertools.product(WAYS, ("first", "second")):
        if start == "first":
            shutil.rmtree(scratch, ignore_errors=True)
        command = [sys.executable, __file__, *sys.argv[1:], "--way", way]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"{way}: {done.stderr.strip().splitlines()[-1]}")
            break
        print(f"{way}, {start} start: {done.stdout.strip()}", flush=True)
    shutil.rmtree(scratch, ignore_errors=True)


def link(source: Path, root: Path, num_cases: int) -> None:
    """Make a data set of the first cases, by links."""
    shutil.rmtree(root, ignore_errors=True)
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir(parents=True)
        for path in sorted((source / folder).iterdir())[:num_cases]:
            (root / folder / path.name).symlink_to(path.resolve())
    shutil.copy(source / "dataset.json", root)


if __name__ == "__main__":
    main()
