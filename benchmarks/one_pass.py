"""CPU time of one exact pass: convolutions, kinds of work, planes at once, small volumes, MedNeXt.

    OMP_NUM_THREADS=1 python benchmarks/one_pass.py [--planes 64] [--rounds 3]
    OMP_NUM_THREADS=1 python benchmarks/one_pass.py --agreement RUN [--cases 6]

All in CPU time of one thread, which depends less on what else the machine does than seconds do.
Convolutions are 3x3x3 on 8 planes of 512 x 512; `grouped` computes 16 channels of neighbours in a
row at once, as `engine/runtimes/plane_layers.py` does. The network is lunet_small_4f with three
outputs, on planes of 512 x 512.

With --agreement, nothing is timed: the label maps of a trained network in one pass and in a whole
pass, in bf16 and fp32, on its first validation cases, which are repeated three times along z and
twice along y and x so that they are larger than any window.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813
import torch
from torch import nn

from lunet_cli.config.options import PredictionOptions
from lunet_cli.config.presets import parse_preset
from lunet_cli.config.vocabulary import Precision
from lunet_cli.engine.checkpoints.models import load_model
from lunet_cli.engine.inference.images import PredictedArray
from lunet_cli.engine.inference.labelled_cases import select_cases
from lunet_cli.engine.inference.one_pass import load_flow
from lunet_cli.engine.inference.predictor import Predictor
from lunet_cli.engine.networks import build_network
from lunet_cli.engine.networks.execution import DTYPES
from lunet_cli.engine.provenance import machine_name, versions
from lunet_cli.engine.runtimes import plane_layers
from lunet_cli.engine.runtimes.plane_graph import PlaneGraph, plane_graph
from lunet_cli.engine.runtimes.plane_queues import PlaneRing
from lunet_cli.engine.runtimes.plane_stream import PlaneStream
from lunet_cli.engine.runtimes.runtime import RuntimePlan, load_runtime

PRECISIONS: tuple[Precision, ...] = ("bf16", "fp32")
EDGE = 512
CPU = torch.device("cpu")


def cpu_seconds(run: Callable[[], object], rounds: int) -> float:
    """The shortest of several runs, after one that warms up."""
    run()
    best = float("inf")
    for _ in range(rounds):
        start = time.process_time()
        run()
        best = min(best, time.process_time() - start)
    return best


def measure_convolutions(precision: Precision, rounds: int) -> None:
    """Microseconds per voxel of single convolutions, as they are and grouped."""
    dtype, num_planes = DTYPES[precision], 8
    for channels, width in ((1, 4), (4, 4), (5, 5), (8, 4)):
        planes = torch.randn(num_planes + 2, EDGE + 2, EDGE + 2, channels).to(dtype)
        for group in (1, 4):
            weight = torch.randn(group * width, channels, 3, 3, group + 2).to(dtype)
            bias = torch.zeros(group * width)

            convolve = partial(plane_layers._convolve, planes, weight, bias, stride=group)
            seconds = cpu_seconds(convolve, rounds)
            kind = "grouped" if group > 1 else "as it is"
            rate = 1e6 * seconds / (num_planes * EDGE**2)
            print(f"{precision} {channels} to {width} {kind:9}{rate:8.4f} us per voxel", flush=True)


def run_planes(graph: PlaneGraph, num_planes: int, per_step: int, precision: Precision) -> float:
    """CPU seconds of one pass."""
    dtype = DTYPES[precision]
    size = (num_planes, EDGE, EDGE)
    stream = PlaneStream(graph, size, per_step=per_step, device=CPU, dtype=dtype)
    block = torch.rand(per_step, EDGE, EDGE, 1).to(dtype)
    start = time.process_time()
    for _ in range(0, num_planes, per_step):
        for _ in stream.push(block):
            pass
    return time.process_time() - start


def measure_kinds(graph: PlaneGraph, num_planes: int, precision: Precision) -> None:
    """Where the time of one pass goes."""
    taken: dict[str, float] = {}

    def timed(owner: Any, name: str, kind: str) -> None:
        original = getattr(owner, name)

        def run(*arguments: Any, **options: Any) -> Any:
            start = time.process_time()
            found = original(*arguments, **options)
            taken[kind] = taken.get(kind, 0.0) + time.process_time() - start
            return found

        setattr(owner, name, run)

    timed(plane_layers, "_convolve", "oneDNN")
    timed(plane_layers, "_copy_channels", "copies side by side")
    timed(PlaneRing, "put", "skips into rings")
    timed(torch.Tensor, "relu_", "ReLU")
    timed(torch, "maximum", "pooling")
    taken["all"] = run_planes(graph, num_planes, 2, precision)
    for kind, seconds in taken.items():
        rate = 1e6 * seconds / (num_planes * EDGE**2)
        print(f"{precision} {kind:22}{rate:8.4f} us per voxel", flush=True)


def measure_passes_of_mednext(rounds: int, edge: int = 96) -> None:
    """How often a MedNeXt would be computed in exact passes, which its normalisations wait for.

    Each needs the statistics of its whole input, and so all that comes before it for all planes,
    before a plane can go on. Of windows with an overlap of one half, 6.75 lie over each voxel.
    """
    network = build_network(parse_preset("mednext_small").spec).eval()
    image = torch.randn(1, 1, edge, edge, edge)
    moments: list[float] = []
    for module in network.modules():
        if isinstance(module, nn.GroupNorm):
            module.register_forward_pre_hook(lambda *_: moments.append(time.process_time()))
    least = float("inf")
    for _ in range(rounds + 1):
        moments.clear()
        start = time.process_time()
        network(image)
        total = time.process_time() - start
        before = sum(moment - start for moment in moments)
        least = min(least, 1 + before / total)
    print(f"mednext_small: {len(moments)} normalisations, {least:.1f} passes", flush=True)


def measure_agreement(run: Path, num_cases: int) -> None:
    """Share of equal labels, and the largest difference of a probability, between pairs of ways."""
    model = load_model(run)
    ways: list[tuple[str, Precision]] = [("stream", "bf16"), ("whole", "bf16"), ("whole", "fp32")]
    selected = select_cases(model, None, "val")
    equal, worst = (
        dict.fromkeys(combinations(ways, 2), 0),
        dict.fromkeys(combinations(ways, 2), 0.0),
    )
    num_voxels = 0
    for case in selected.cases[:num_cases]:
        (image, *_), _ = selected.case_set.reader(case, lambda remark: None)
        tiled = np.tile(sitk.GetArrayFromImage(image), (3, 2, 2))[None]
        num_voxels += tiled.size
        found: dict[tuple[str, Precision], PredictedArray] = {}
        for window, precision in ways:
            options = PredictionOptions(window=window, precision=precision, device="cpu")
            found[window, precision] = Predictor([model], options).predict(
                tiled, spacing_mm=image.GetSpacing()[::-1], probabilities=True
            )
        for pair in equal:
            one, other = (found[way] for way in pair)
            equal[pair] += int(np.count_nonzero(one.label_map == other.label_map))
            for name, probability in one.probabilities.items():
                difference = float(np.abs(probability - other.probabilities[name]).max())
                worst[pair] = max(worst[pair], difference)
    for (one_way, other_way), count in equal.items():
        told = f"{' '.join(one_way)} and {' '.join(other_way)}"
        difference = worst[one_way, other_way]
        print(f"{told:28} equal {count / num_voxels:.5f}, largest difference {difference:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--planes", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--agreement", type=Path, metavar="RUN", help="compare label maps instead")
    parser.add_argument("--cases", type=int, default=6, help="how many, with --agreement")
    options = parser.parse_args()
    print(f"{machine_name()}, {torch.get_num_threads()} threads, {versions()}")
    if options.agreement is not None:
        measure_agreement(options.agreement, options.cases)
        return
    network = build_network(replace(parse_preset("lunet_small_4f").spec, out_channels=3)).eval()
    graph, num_planes = plane_graph(network), options.planes
    with torch.inference_mode():
        for precision in PRECISIONS:
            measure_convolutions(precision, options.rounds)
        for edge in (64, 128):
            image = torch.randn(1, 1, edge, edge, edge)
            for precision in PRECISIONS:
                plan = RuntimePlan("torch", "cpu", precision)
                for kind, load in (("window", load_runtime), ("one pass", load_flow)):
                    forward = load(plan, network)
                    seconds = cpu_seconds(partial(forward, image), options.rounds)
                    print(f"{precision} {edge}^3 {kind:9}{1000 * seconds:8.1f} ms", flush=True)
        for precision in PRECISIONS:
            for per_step in (2, 4, 8):
                best = min(
                    run_planes(graph, num_planes, per_step, precision)
                    for _ in range(options.rounds)
                )
                rate = 1e6 * best / (num_planes * EDGE**2)
                print(f"{precision} {per_step} planes at once{rate:8.4f} us per voxel", flush=True)
        measure_kinds(graph, num_planes, "bf16")
        measure_passes_of_mednext(options.rounds)


if __name__ == "__main__":
    main()
