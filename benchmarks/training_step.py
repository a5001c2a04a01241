"""Time of a training step under each way to compute, and the share of the data loader.

    python benchmarks/training_step.py [--arch NAME ...] [--compile]

Rounds are interleaved, so that a drift of the machine meets all candidates alike. The first row is
plain PyTorch: fp32, contiguous, not compiled, with torch's own batch normalisation.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
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

BATCH, SHAPE, ROUNDS = 4, (48, 64, 48), 9


def make_step(architecture: str, plan: ExecutionPlan, *, own_norm: bool) -> Callable[[], None]:
    torch.manual_seed(0)
    network = build_network(replace(parse_preset(architecture).spec, dropout=0.005)).train()
    if not own_norm:
        use_native_norm(network)
    network = plan.place(network)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    forward = plan.callable_of(network)
    loss = make_loss(LossConfig(), "sigmoid")
    image = plan.place_image(torch.randn(BATCH, 1, *SHAPE))
    target = torch.rand(BATCH, 1, *SHAPE) > 0.8

    def step() -> None:
        with plan.autocast():
            logits = forward(image)
        optimizer.zero_grad()
        loss(logits, target).backward()
        optimizer.step()

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


def compare_plans(architecture: str, *, compiled: bool) -> None:
    cases = {
        "plain PyTorch: fp32": (ExecutionPlan("cpu", "fp32", False, False), False),
        "fp32 channels-last, torch's norm": (ExecutionPlan("cpu", "fp32", True, False), False),
        "fp32 channels-last": (ExecutionPlan("cpu", "fp32", True, False), True),
        "bf16": (ExecutionPlan("cpu", "bf16", False, False), True),
        "bf16 channels-last, torch's norm": (ExecutionPlan("cpu", "bf16", True, False), False),
        "bf16 channels-last": (ExecutionPlan("cpu", "bf16", True, False), True),
    }
    if compiled:
        cases["bf16 channels-last compiled"] = (ExecutionPlan("cpu", "bf16", True, True), True)
    steps = {
        name: make_step(architecture, plan, own_norm=own) for name, (plan, own) in cases.items()
    }
    medians = measure(steps)
    plain = next(iter(medians.values()))
    for name, value in medians.items():
        print(f"{architecture:16} {name:34} {value:8.1f} ms   {plain / value:5.2f}x")


def loader_share(config_file: Path, data_root: Path | None) -> None:
    """Time of an epoch's batches alone, against that of its steps by the fastest plan."""
    overrides = [] if data_root is None else [f"data.root={data_root}"]
    config = load_config(config_file, overrides)
    setup = set_up(config, lambda event: None)
    plan = ExecutionPlan("cpu", "bf16", True, False)
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
        setup.loss(logits, setup.card.labels.encode(label)).backward()
        optimizer.step()

    rounds = [(run_epoch(lambda image, label: None), run_epoch(train_step)) for _ in range(3)]
    alone, whole = (statistics.median(values) for values in zip(*rounds, strict=True))
    times = f"epoch {whole:.2f} s, its batches alone {alone:.2f} s"
    print(f"{config_file.name}: {times}, share {alone / whole:.1%}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--arch", nargs="+", default=["lunet_small_4f", "unet_small_4f"])
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
    shape = "x".join(map(str, SHAPE))
    print(f"training step, batch {BATCH} of 1x{shape}, median of {ROUNDS} interleaved rounds")
    for architecture in arguments.arch:
        compare_plans(architecture, compiled=arguments.compile)
    loader_share(arguments.config, arguments.data_root)


if __name__ == "__main__":
    main()
