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


def make_step(
    architecture: str, plan: ExecutionPlan, batch: Batch, *, own_norm: bool
) -> Callable[[], None]:
    torch.manual_seed(0)
    network = build_network(replace(parse_preset(architecture).spec, dropout=0.005)).train()
    if not own_norm:
        use_native_norm(network)
    network = plan.place(network)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    forward = plan.callable_of(network)
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
    cases = {
        "plain PyTorch: fp32": (ExecutionPlan(device, "fp32", False, False), False),
        "fp32 channels-last, torch's norm": (ExecutionPlan(device, "fp32", True, False), False),
        "fp32 channels-last": (ExecutionPlan(device, "fp32", True, False), True),
        "bf16": (ExecutionPlan(device, "bf16", False, False), True),
        "bf16 channels-last, torch's norm": (ExecutionPlan(device, "bf16", True, False), False),
        "bf16 channels-last": (ExecutionPlan(device, "bf16", True, False), True),
    }
    if device == "cuda":  # Our norm is torch's there.
        cases = {name: case for name, case in cases.items() if "torch's" not in name}
    if compiled:
        cases["bf16 channels-last compiled"] = (ExecutionPlan(device, "bf16", True, True), True)
    steps = {
        name: make_step(architecture, plan, batch, own_norm=own)
        for name, (plan, own) in cases.items()
    }
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
        for image, label in batches(setup.loader):
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
    arguments = parser.parse_args()
    threads = torch.get_num_threads()
    print(f"{machine_name()}, {os.cpu_count()} cores, {threads} threads; {versions()}")
    depth, height, width = arguments.size
    batch = Batch(arguments.batch, (depth, height, width))
    print(f"training step, batch {batch}, median of {ROUNDS} interleaved rounds")
    for architecture in arguments.arch:
        compare_plans(architecture, arguments.device, batch, compiled=arguments.compile)
    loader_share(arguments.config, arguments.data_root, arguments.device)


if __name__ == "__main__":
    main()
