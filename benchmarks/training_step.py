"""Time of a training step under each way to compute, and the share of the data loader.

    python benchmarks/training_step.py [--arch NAME ...] [--device cuda] [--compile]

Rounds are interleaved, so that a drift of the machine meets all candidates alike. The first row is
plain PyTorch: fp32, contiguous, not compiled, with torch's own batch normalisation.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from lunet_cli.config.load import load_config
from lunet_cli.config.presets import parse_preset
from lunet_cli.config.training import LossConfig
from lunet_cli.engine.data.patches import batches
from lunet_cli.engine.networks import build_network
from lunet_cli.engine.networks.execution import ExecutionPlan
from lunet_cli.engine.networks.normalization import BatchNormDropout
from lunet_cli.engine.provenance import machine_name, versions
from lunet_cli.engine.training.losses import make_loss
from lunet_cli.engine.training.setup import set_up

ROUNDS = 9


@dataclass(frozen=True)
class Batch:
    """Images of one step: how many, and their voxels (D, H, W)."""

    number: int
    shape: tuple[int, int, int]

    def __str__(self) -> str:
        return f"{self.number} of 1x{'x'.join(map(str, self.shape))}"


@dataclass(frozen=True)
class Way:
    """How a step is computed.

    Args:
        plan: Device, precision, layout, compilation.
        own_norm: Whether batch normalisation is ours.
        fused: Whether the optimiser is one kernel.
        graphs: Whether the launches of a compiled network are recorded as CUDA graphs.
    """

    plan: ExecutionPlan
    own_norm: bool = True
    fused: bool = False
    graphs: bool = False


def make_step(architecture: str, way: Way, batch: Batch) -> Callable[[], None]:
    torch.manual_seed(0)
    network = build_network(replace(parse_preset(architecture).spec, dropout=0.005)).train()
    plan = way.plan
    if not way.own_norm:
        use_native_norm(network)
    network = plan.place(network)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, fused=way.fused or None)
    forward = plan.callable_of(network)
    if way.graphs:
        forward = torch.compile(network, dynamic=False, mode="reduce-overhead")
    loss = make_loss(LossConfig(), "sigmoid")
    image = plan.place_image(torch.randn(batch.number, 1, *batch.shape))
    target = (torch.rand(batch.number, 1, *batch.shape) > 0.8).to(plan.device)

    def step() -> None:
        with plan.autocast():
            logits = forward(image)
        optimizer.zero_grad()
        value = loss(logits, target)
        value.backward()
        optimizer.step()
        value.item()  # waits for a GPU, as a training does that shows its loss

    return step


def use_native_norm(network: nn.Module) -> None:
    """Replace our batch normalisation by torch's, with its dropout behind it."""
    for module in network.modules():
        for name, child in list(module.named_children()):
            if isinstance(child, BatchNormDropout):
                norm = nn.BatchNorm3d(child.num_features)
                setattr(module, name, nn.Sequential(norm, nn.Dropout3d(child.dropout)))


def measure(steps: dict[str, Callable[[], None]]) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(ROUNDS + 2):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if number >= 2:
                times[name].append(1000 * (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in times.items()}


def compare_plans(architecture: str, device: str, batch: Batch, *, compiled: bool) -> None:
    last = ExecutionPlan(device, "bf16", channels_last=True, compile=False)
    fp32 = replace(last, precision="fp32")
    ways = {
        "plain PyTorch: fp32": Way(replace(fp32, channels_last=False), own_norm=False),
        "fp32 channels-last, torch's norm": Way(fp32, own_norm=False),
        "fp32 channels-last": Way(fp32),
        "bf16": Way(replace(last, channels_last=False)),
        "bf16 channels-last, torch's norm": Way(last, own_norm=False),
        "bf16 channels-last": Way(last),
    }
    if device == "cuda":  # Our norm is torch's there.
        ways = {name: way for name, way in ways.items() if "torch's" not in name}
        ways["bf16 channels-last, fused optimiser"] = Way(last, fused=True)
    if compiled:
        ways["bf16 channels-last compiled"] = Way(replace(last, compile=True))
    if compiled and device == "cuda":
        ways["the same, fused and as graphs"] = Way(last, fused=True, graphs=True)
    steps = {name: make_step(architecture, way, batch) for name, way in ways.items()}
    medians = measure(steps)
    plain = next(iter(medians.values()))
    for name, value in medians.items():
        per_second = 1000 * batch.number / value
        print(
            f"{architecture:16} {name:34} {value:8.1f} ms {per_second:8.1f} images/s "
            f"{plain / value:5.2f}x"
        )


def loader_share(config_file: Path, data_root: Path | None, device: str) -> None:
    """Time of an epoch's batches alone, against that of its steps in bf16, channels-last."""
    overrides = [] if data_root is None else [f"data.root={data_root}"]
    config = load_config(config_file, overrides)
    setup = set_up(config, lambda event: None)
    plan = ExecutionPlan(device, "bf16", True, False)
    network = plan.place(setup.new_network()).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)

    def run_epoch(step: Callable[[Tensor, Tensor], None]) -> float:
        start = time.perf_counter()
        for image, label, _ in batches(setup.loader):
            step(image, label)
        return time.perf_counter() - start

    def train_step(image: Tensor, label: Tensor) -> None:
        with plan.autocast():
            logits = network(plan.place_image(image))
        optimizer.zero_grad()
        value = setup.loss(logits, setup.card.labels.encode(label.to(device)))
        value.backward()
        optimizer.step()
        value.item()

    rounds = [(run_epoch(lambda image, label: None), run_epoch(train_step)) for _ in range(3)]
    alone, whole = (statistics.median(values) for values in zip(*rounds, strict=True))
    times = f"epoch {whole:.2f} s, its batches alone {alone:.2f} s"
    print(f"{config_file.name}: {times}, share {alone / whole:.1%}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--arch", nargs="+", default=["lunet_small_4f", "unet_small_4f"])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--size", nargs=3, type=int, default=[48, 64, 48], metavar=("D", "H", "W"))
    parser.add_argument(
        "--compile", action="store_true", help="add a compiled row (takes about half a minute)"
    )
    parser.add_argument(
        "--config",
        type=Path,
        default=Path("configs/quickstart.yaml"),
        help="for the loader's share",
    )
    parser.add_argument(
        "--data-root", type=Path, default=None, help="data.root of that configuration"
    )
    parser.add_argument("--no-loader", action="store_true", help="leave the loader's share out")
    arguments = parser.parse_args()
    threads = torch.get_num_threads()
    print(f"{machine_name()}, {os.cpu_count()} cores, {threads} threads; {versions()}")
    depth, height, width = arguments.size
    batch = Batch(arguments.batch, (depth, height, width))
    print(f"training step, batch {batch}, median of {ROUNDS} interleaved rounds")
    for architecture in arguments.arch:
        compare_plans(architecture, arguments.device, batch, compiled=arguments.compile)
    if not arguments.no_loader:
        loader_share(arguments.config, arguments.data_root, arguments.device)


if __name__ == "__main__":
    main()
