"""Time and peak memory of segmenting a large CT volume, beside MONAI's sliding windows.

Each runs in a process of its own.

    python benchmarks/prediction.py [--size 600x512x512] [--precision bf16 fp32] [--rounds 1]
    python benchmarks/prediction.py --runtimes eager/fp32 torch/fp32 torch/bf16 auto/auto

Both get the same int16 volume, network (lunet_small_4f, two labels and background), arithmetic,
memory layout, window 96^3, overlap 0.5, Gaussian weights and windows per batch, and end with a
label map in memory. `whole command` is `lunet predict` from a .nii.gz file to a .nii.gz file; with
--runtimes, that command alone is compared between runtimes.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813
import torch

from lunet_cli.config.options import PredictionOptions
from lunet_cli.config.presets import parse_preset
from lunet_cli.engine.checkpoints.checkpoint import Checkpoint, ModelCard, save_checkpoint
from lunet_cli.engine.data.labels import LabelScheme
from lunet_cli.engine.data.preprocessing import Normalization, Preprocessing
from lunet_cli.engine.data.reading import read_image
from lunet_cli.engine.inference.predictor import Predictor
from lunet_cli.engine.networks import build_network
from lunet_cli.engine.provenance import machine_name, versions
from lunet_cli.records.network_card import Execution, KeptConfig

WINDOW, OVERLAP, BATCH = (96, 96, 96), 0.5, 2
CANDIDATES = ("MONAI", "lunet", "whole command")


def write_files(folder: Path, size: tuple[int, int, int]) -> None:
    """A network with random weights, and a volume with smooth structures and noise."""
    torch.manual_seed(0)
    spec = replace(parse_preset("lunet_small_4f").spec, out_channels=3)
    scheme = LabelScheme((("organ", (1,)), ("lesion", (2,))), "softmax")
    card = ModelCard(
        spec, scheme, Preprocessing("LPS", None, Normalization("ct_window", 40.0, 400.0)), WINDOW
    )
    execution = Execution(device="cpu", precision="fp32", channels_last=True, compile=False)
    weights = build_network(spec).state_dict()
    save_checkpoint(
        Checkpoint(card, weights, 0, KeptConfig({}), versions(), execution), folder / "model.pt"
    )
    rng = np.random.default_rng(0)
    volume = np.empty(size, np.int16)
    y, x = np.ogrid[: size[1], : size[2]]
    for z in range(size[0]):
        body = 300 * np.sin(y / 40 + z / 60) * np.cos(x / 50) - 100
        volume[z] = (body + rng.normal(0, 30, size[1:])).astype(np.int16)
    image = sitk.GetImageFromArray(volume)
    image.SetSpacing((0.7, 0.7, 1.0))
    sitk.WriteImage(image, str(folder / "ct.nii.gz"), useCompression=True)


def run_candidate(name: str, folder: Path, precision: str) -> dict[str, float]:
    """Segment the volume once, in this process."""
    predictor = Predictor.load(
        [folder / "model.pt"],
        options=PredictionOptions(overlap=OVERLAP, batch_size=BATCH, precision=precision),
    )
    start = time.perf_counter()
    channels = read_image([folder / "ct.nii.gz"])
    read = time.perf_counter()
    if name == "lunet":
        labels = predictor.segment(channels).label_map()
    else:
        from monai.inferers.utils import sliding_window_inference

        image = torch.from_numpy(predictor.card.preprocessing.apply_to_image(channels).array)[None]
        del channels
        with torch.inference_mode():
            logits = sliding_window_inference(
                image,
                WINDOW,
                BATCH,
                predictor.ensemble.forward,
                overlap=OVERLAP,
                mode="gaussian",
                sigma_scale=0.125,
            )
            assert isinstance(logits, torch.Tensor)
            labels = logits[0].argmax(dim=0).to(torch.uint8).numpy()
    np.save(folder / f"{name}_{precision}.npy", labels)
    return {"seconds": time.perf_counter() - read, "reading": read - start, "mib": _peak_mib()}


def run_command(folder: Path, runtime: str, precision: str) -> dict[str, float]:
    """The whole command in a child process."""
    program = Path(sys.executable).with_name("lunet")
    output = folder / f"{runtime}_{precision}.nii.gz"
    command = [
        program,
        "predict",
        folder / "model.pt",
        folder / "ct.nii.gz",
        "-o",
        output,
        "--explain",
    ]
    options = ["--precision", precision, "--runtime", runtime]
    start = time.perf_counter()
    done = subprocess.run(
        [*map(str, command), *options], check=True, capture_output=True, encoding="utf-8"
    )
    seconds = time.perf_counter() - start
    print(done.stdout, file=sys.stderr)
    labels = sitk.GetArrayFromImage(sitk.ReadImage(str(output)))
    output.unlink()
    np.save(folder / f"{runtime}_{precision}.npy", labels)
    return {"seconds": seconds, "mib": _peak_mib(resource.RUSAGE_CHILDREN)}


def compare_runtimes(folder: Path, runtimes: list[str]) -> None:
    """Time of the whole command for each RUNTIME/PRECISION, and label maps beside the first."""
    first: np.ndarray | None = None
    for name in runtimes:
        found = measure("whole command", folder, name)
        labels = np.load(folder / f"{name.replace('/', '_')}.npy")
        first = labels if first is None else first
        common = [np.count_nonzero((first == value) & (labels == value)) for value in (1, 2)]
        sizes = [
            np.count_nonzero(first == value) + np.count_nonzero(labels == value) for value in (1, 2)
        ]
        agreement = " ".join(
            f"{2 * both / size if size else 1.0:.5f}"
            for both, size in zip(common, sizes, strict=True)
        )
        print(
            f"{name:16}{found['seconds']:>10.1f} s{found['mib']:>10.0f} MiB  Dice {agreement}",
            flush=True,
        )


def _peak_mib(who: int = resource.RUSAGE_SELF) -> float:
    return resource.getrusage(who).ru_maxrss / 1024


def measure(name: str, folder: Path, precision: str) -> dict[str, float]:
    """Run a candidate in a process of its own."""
    command = [
        sys.executable,
        __file__,
        "--candidate",
        name,
        "--folder",
        str(folder),
        "--precision",
        precision,
    ]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, encoding="utf-8")
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", default="600x512x512", help="voxels (z, y, x)")
    parser.add_argument("--precision", nargs="+", default=["bf16", "fp32"])
    parser.add_argument(
        "--runtimes", nargs="+", metavar="RUNTIME/PRECISION", help="compare these instead"
    )
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--candidate", choices=CANDIDATES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.candidate:
        precision = arguments.precision[0]
        is_command = arguments.candidate == "whole command"
        found = (
            run_command(
                arguments.folder,
                *(precision.split("/") if "/" in precision else ("torch", precision)),
            )
            if is_command
            else run_candidate(arguments.candidate, arguments.folder, precision)
        )
        print(json.dumps(found))
        return
    print(
        f"{machine_name()}, {os.cpu_count()} CPUs, {torch.get_num_threads()} threads, {versions()}"
    )
    depth, height, width = (int(edge) for edge in arguments.size.split("x"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_files(folder, (depth, height, width))
        if arguments.runtimes:
            compare_runtimes(folder, arguments.runtimes)
            return
        print(f"{'':16}{'precision':>10}{'seconds':>10}{'peak MiB':>10}")
        for _ in range(arguments.rounds):
            for precision in arguments.precision:
                for candidate in CANDIDATES:
                    found = measure(candidate, folder, precision)
                    print(
                        f"{candidate:16}{precision:>10}{found['seconds']:>10.1f}{found['mib']:>10.0f}",
                        flush=True,
                    )
                maps = [
                    np.load(folder / f"{candidate}_{precision}.npy", mmap_mode="r")
                    for candidate in CANDIDATES[:2]
                ]
                print(
                    f"voxels that agree in {precision}: {np.mean(maps[0] == maps[1]):.6f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
