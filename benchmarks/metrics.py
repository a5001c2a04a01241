"""Time and peak memory of measuring a large pair of label maps, each way in a process of its own.

    python benchmarks/metrics.py [--size 300x512x512]

Three labels: one nearly as large as the volume, one organ, one small structure. `lunet` takes all
    ten metrics; `MONAI`
Dice, HD95, ASSD and NSD; `distance transforms` HD95 alone, from two transforms of the whole volume
per label.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage

from lunet_cli.engine.evaluation.masks import score_masks
from lunet_cli.engine.evaluation.surface import surface
from lunet_cli.engine.provenance import machine_name, versions

SPACING = (1.0, 0.7, 0.7)
Mask = npt.NDArray[np.bool_]
CANDIDATES = ("lunet", "MONAI", "distance transforms")


def make_pair(size: tuple[int, int, int]) -> list[tuple[Mask, Mask]]:
    """Ellipsoids as references; as predictions, shifted and larger ones with a ragged border."""
    z, y, x = (np.linspace(-1, 1, edge) for edge in size)
    ragged = 0.02 * np.sin(40 * y[:, None]) * np.cos(35 * x[None])
    pairs = []
    for centre, radius in (
        ((0.0, 0.0, 0.0), 0.93),
        ((0.1, -0.2, -0.2), 0.35),
        ((-0.5, 0.2, 0.2), 0.1),
    ):
        prediction, reference = np.empty(size, dtype=bool), np.empty(size, dtype=bool)
        in_plane = ((y[:, None] - centre[1]) / radius) ** 2 + ((x[None] - centre[2]) / radius) ** 2
        for index, height in enumerate(((z - centre[0]) / radius) ** 2):
            distance = in_plane + height
            reference[index] = distance < 1
            prediction[index] = np.roll(distance, 2, axis=0) + ragged < 1.02
        pairs.append((prediction, reference))
    return pairs


def measure_with_lunet(pairs: list[tuple[Mask, Mask]]) -> list[float]:
    return [score_masks(p, r, SPACING)["hausdorff95"] for p, r in pairs]


def measure_with_monai(pairs: list[tuple[Mask, Mask]]) -> list[float]:
    from monai.metrics.hausdorff_distance import compute_hausdorff_distance
    from monai.metrics.meandice import compute_dice
    from monai.metrics.surface_dice import compute_surface_dice
    from monai.metrics.surface_distance import compute_average_surface_distance

    found = []
    for pair in pairs:
        p, r = (torch.from_numpy(mask)[None, None] for mask in pair)
        compute_dice(p, r)
        compute_average_surface_distance(
            p, r, include_background=True, symmetric=True, spacing=SPACING
        )
        compute_surface_dice(p, r, [1.0], include_background=True, spacing=SPACING)
        distance = compute_hausdorff_distance(
            p, r, include_background=True, percentile=95, spacing=SPACING
        )
        found.append(float(distance))
    return found


def measure_with_transforms(pairs: list[tuple[Mask, Mask]]) -> list[float]:
    found = []
    for pair in pairs:
        surfaces = [surface(mask) for mask in pair]
        sides = []
        for here, there in (surfaces, surfaces[::-1]):
            sides.append(
                np.percentile(ndimage.distance_transform_edt(~there, sampling=SPACING)[here], 95)
            )
        found.append(float(max(sides)))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", default="300x512x512", help="voxels (z, y, x)")
    parser.add_argument("--candidate", choices=CANDIDATES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    depth, height, width = (int(edge) for edge in arguments.size.split("x"))
    if arguments.candidate:
        ways = dict(
            zip(
                CANDIDATES,
                (measure_with_lunet, measure_with_monai, measure_with_transforms),
                strict=True,
            )
        )
        pairs = make_pair((depth, height, width))
        start = time.perf_counter()
        found = ways[arguments.candidate](pairs)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"seconds": time.perf_counter() - start, "mib": peak, "hd95": found}))
        return
    print(f"{machine_name()}, {os.cpu_count()} CPUs, {versions()}")
    print(f"{'':22}{'seconds':>10}{'peak MiB':>10}  HD95 of the three labels in mm")
    for candidate in CANDIDATES:
        command = [sys.executable, __file__, "--candidate", candidate, "--size", arguments.size]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, encoding="utf-8")
        result = json.loads(done.stdout.splitlines()[-1])
        values = ", ".join(f"{value:.4f}" for value in result["hd95"])
        print(
            f"{candidate:22}{result['seconds']:>10.1f}{result['mib']:>10.0f}  {values}", flush=True
        )


if __name__ == "__main__":
    main()
