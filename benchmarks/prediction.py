r"""Time and peak memory of segmenting a large CT volume: one pass, windows, MONAI's windows.

Each runs in a process of its own.

    python benchmarks/prediction.py [--size 600x512x512] [--precision bf16 fp32] [--rounds 1]
    python benchmarks/prediction.py --candidates "whole command, stream" \
        --depths 150 300 600 1200 --precision bf16 --picture docs/images/one_pass_growth.png
    python benchmarks/prediction.py --runtimes eager/fp32 torch/fp32 torch/bf16 auto/auto

All get the same int16 volume, network (lunet_small_4f, two labels and background) and arithmetic,
and end with a label map in memory. MONAI and `windows` have the same memory layout, window 96^3,
overlap 0.5, Gaussian weights and windows per batch; `stream` is one exact pass. `planes alone` is
that pass from planes in memory to logits, without reading and deciding. `whole command` is
`lunet predict` from a .nii.gz file to a .nii.gz file; with --runtimes, that command alone is
compared between runtimes. With --depths, each is measured on volumes of so many planes, and
--picture draws how CPU seconds and peak memory grow with them.

CPU seconds count all threads; they depend less on what else the machine does than seconds do.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813
import torch
from matplotlib.figure import Figure

from lunet_cli.config.options import PredictionOptions
from lunet_cli.config.presets import parse_preset
from lunet_cli.engine.checkpoints.checkpoint import Checkpoint, ModelCard, save_checkpoint
from lunet_cli.engine.data.labels import LabelScheme
from lunet_cli.engine.data.preprocessing import Normalization, Preprocessing
from lunet_cli.engine.data.reading import read_image
from lunet_cli.engine.inference.predictor import Predictor
from lunet_cli.engine.inference.stream import stream_logits, usual_planes
from lunet_cli.engine.networks import build_network
from lunet_cli.engine.networks.blocks import SegmentationNetwork
from lunet_cli.engine.provenance import machine_name, versions
from lunet_cli.records.network_card import Execution, KeptConfig

WINDOW, OVERLAP, BATCH = (96, 96, 96), 0.5, 2
# What each runs, and how volumes are cut; "" for what is not lunet's.
CANDIDATES = {
    "MONAI": "",
    "windows": "96",
    "stream": "stream",
    "planes alone": "stream",
    "whole command, windows": "96",
    "whole command, stream": "stream",
}


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
    options = PredictionOptions(
        window=CANDIDATES[name] or None, overlap=OVERLAP, batch_size=BATCH, precision=precision
    )
    predictor = Predictor.load([folder / "model.pt"], options=options)
    channels = read_image([folder / "ct.nii.gz"])
    start, cpu = time.perf_counter(), time.process_time()
    if name == "MONAI":
        labels = segment_with_monai(predictor, channels)
    elif name == "planes alone":
        labels = run_planes_alone(predictor, channels)
    else:
        labels = predictor.segment(channels).label_map()
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    np.save(folder / f"{file_name(name, precision)}.npy", labels)
    return {"seconds": seconds, "cpu": cpu, "mib": _peak_mib()}


def segment_with_monai(predictor: Predictor, channels: list[sitk.Image]) -> np.ndarray:
    """The same windows by MONAI."""
    from monai.inferers.utils import sliding_window_inference

    image = torch.from_numpy(predictor.card.preprocessing.apply_to_image(channels).array)[None]
    channels.clear()
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
        return logits[0].argmax(dim=0).to(torch.uint8).numpy()


def run_planes_alone(predictor: Predictor, channels: list[sitk.Image]) -> np.ndarray:
    """One pass of the network over planes that repeat, and nothing else."""
    depth, height, width = sitk.GetArrayViewFromImage(channels[0]).shape
    per_step = usual_planes((depth, height, width))
    block = torch.rand(1, per_step, height, width)
    blocks = (block[:, : depth - first] for first in range(0, depth, per_step))
    network, precision = predictor.models[0].network, predictor.ensemble.plan.precision
    assert isinstance(network, SegmentationNetwork)
    count = 0
    for logits in stream_logits(network, blocks, (depth, height, width), precision=precision):
        count += logits.shape[1]
    return np.array(count)


def file_name(name: str, precision: str) -> str:
    """Where a candidate leaves its label map."""
    return f"{name}_{precision}".replace(" ", "_").replace("/", "_").replace(",", "")


def run_command(folder: Path, name: str, runtime: str, precision: str) -> dict[str, float]:
    """The whole command in a child process."""
    program = Path(sys.executable).with_name("lunet")
    output = folder / "command.nii.gz"
    files = [folder / "model.pt", folder / "ct.nii.gz", "-o", output, "--explain"]
    options = ["--precision", precision, "--runtime", runtime, "--window", CANDIDATES[name]]
    start = time.perf_counter()
    done = subprocess.run(
        [program, "predict", *map(str, files), *options],
        check=True,
        capture_output=True,
        encoding="utf-8",
    )
    seconds = time.perf_counter() - start
    print(done.stdout, file=sys.stderr)
    labels = sitk.GetArrayFromImage(sitk.ReadImage(str(output)))
    output.unlink()
    np.save(folder / f"{file_name(name, f'{runtime}/{precision}')}.npy", labels)
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = usage.ru_utime + usage.ru_stime
    return {"seconds": seconds, "cpu": cpu, "mib": _peak_mib(resource.RUSAGE_CHILDREN)}


def compare_runtimes(folder: Path, runtimes: list[str]) -> None:
    """Time of the whole command for each RUNTIME/PRECISION, and label maps beside the first."""
    first: np.ndarray | None = None
    command = "whole command, windows"
    for name in runtimes:
        found = measure(command, folder, name)
        labels = np.load(folder / f"{file_name(command, name)}.npy")
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


@dataclass(frozen=True)
class Row:
    """What was measured of a candidate on a volume.

    Args:
        name: The candidate, and its arithmetic.
        size: Voxels (D, H, W).
        cpu: Seconds of all threads.
        mib: Peak memory of the process.
    """

    name: str
    size: tuple[int, int, int]
    cpu: float
    mib: float


def compare_candidates(
    folder: Path, size: tuple[int, int, int], options: argparse.Namespace
) -> list[Row]:
    """A row for each candidate, and how far their label maps agree with the first one's."""
    num_voxels, rows = math.prod(size), []
    for precision in options.precision:
        first: np.ndarray | None = None
        for name in options.candidates:
            found = measure(name, folder, precision)
            rows.append(Row(f"{name}, {precision}", size, found["cpu"], found["mib"]))
            told = f"{found['seconds']:>9.1f}{found['cpu']:>9.1f}"
            told += f"{1e6 * found['cpu'] / num_voxels:>10.3f}{found['mib']:>9.0f}"
            setting = precision
            if name.startswith("whole command"):
                setting = f"torch/{precision}"
            labels = np.load(folder / f"{file_name(name, setting)}.npy", mmap_mode="r")
            if labels.ndim == 3:
                first = labels if first is None else first
                told += f"{np.mean(first == labels):>11.6f}"
            print(f"{size[0]:>6}{precision:>6} {name:24}{told}", flush=True)
    return rows


def draw_growth(rows: list[Row], path: Path) -> None:
    """Draw CPU seconds and peak memory by the number of planes."""
    from lunet_cli.render.figures.style import FULL_WIDTH, new_figure, styled, unit, write_figure
    from lunet_cli.render.palette import label_colors

    @styled
    def draw() -> Figure:
        figure = new_figure(FULL_WIDTH, 2.6)
        seconds, memory = figure.subplots(1, 2)
        names = list(dict.fromkeys(row.name for row in rows))
        for name, color in zip(names, label_colors(len(names)), strict=True):
            mine = sorted((row for row in rows if row.name == name), key=lambda row: row.size)
            depths = [row.size[0] for row in mine]
            style = {"marker": "o", "color": unit(color), "label": name}
            seconds.plot(depths, [row.cpu for row in mine], **style)
            memory.plot(depths, [row.mib for row in mine], **style)
        stored = sorted({row.size for row in rows})
        mib = [2 * math.prod(size) / 2**20 for size in stored]
        memory.plot([size[0] for size in stored], mib, "--", color="grey", label="the int16 volume")
        _, height, width = stored[0]
        for axes, what in ((seconds, "CPU seconds"), (memory, "peak memory, MiB")):
            axes.set(xlabel=f"planes of {height} x {width}", ylabel=what)
            axes.set_xlim(0)
            axes.set_ylim(0, 1.1 * axes.get_ylim()[1])
        memory.legend(fontsize=7)
        return figure

    with path.open("wb") as file:
        write_figure(draw(), file, path)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", default="600x512x512", help="voxels (z, y, x)")
    parser.add_argument("--depths", nargs="+", type=int, help="numbers of planes instead of z")
    parser.add_argument("--precision", nargs="+", default=["bf16", "fp32"])
    parser.add_argument("--candidates", nargs="+", choices=CANDIDATES, default=list(CANDIDATES))
    parser.add_argument(
        "--runtimes", nargs="+", metavar="RUNTIME/PRECISION", help="compare these instead"
    )
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw how both grow")
    parser.add_argument("--candidate", choices=CANDIDATES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.candidate:
        print(json.dumps(run_one(options.candidate, options.folder, options.precision[0])))
        return
    print(
        f"{machine_name()}, {os.cpu_count()} CPUs, {torch.get_num_threads()} threads, {versions()}"
    )
    depth, height, width = (int(edge) for edge in options.size.split("x"))
    print(
        f"{'planes':>6}{'':6} {'':24}{'seconds':>9}{'CPU s':>9}{'us/voxel':>10}{'MiB':>9}"
        f"{'agreement':>11}"
    )
    rows: list[Row] = []
    for planes in options.depths or [depth]:
        with tempfile.TemporaryDirectory() as name:
            folder, size = Path(name), (planes, height, width)
            write_files(folder, size)
            if options.runtimes:
                compare_runtimes(folder, options.runtimes)
                continue
            for _ in range(options.rounds):
                rows += compare_candidates(folder, size, options)
    if options.picture is not None:
        draw_growth(rows, options.picture)


def run_one(name: str, folder: Path, precision: str) -> dict[str, float]:
    """A candidate in this process; `precision` of a command may be RUNTIME/PRECISION."""
    if not name.startswith("whole command"):
        return run_candidate(name, folder, precision)
    runtime = "torch"
    if "/" in precision:
        runtime, precision = precision.split("/")
    return run_command(folder, name, runtime, precision)


if __name__ == "__main__":
    main()
