"""One training in several processes: images per second, and the share of what they tell each other.

    python benchmarks/processes.py [--arch lunet_small_4f] [--edge 64] [--batch 4] [--processes 2]

The cores of the machine are divided: one process with all of them as threads, and `--processes`
with its share each, in turns. All are started by torchrun, and train on built-in volumes in fp32 or
the precision that `auto` takes. Communication is the time that gloo reports for its collectives
while steps are profiled; it overlaps with what the process computes.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time

import torch
from torch.profiler import ProfilerActivity, profile

from lunet_cli.config.load import load_config
from lunet_cli.engine.data.patches import batches
from lunet_cli.engine.process_group import joined_group
from lunet_cli.engine.provenance import machine_name, versions
from lunet_cli.engine.training.context import StepContext
from lunet_cli.engine.training.gradients import Gradients
from lunet_cli.engine.training.loop import train_step
from lunet_cli.engine.training.setup import set_up
from lunet_cli.engine.training.state import TrainState
from lunet_cli.engine.training.verification import choose_plan

STEPS, WARM_UP, ROUNDS = 12, 3, 3


def work(architecture: str, edge: int, batch: int, *, synchronized: bool) -> None:
    """Measure in this process, as one of a group."""
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    settings = [
        f"model.architecture={architecture}",
        f"data.phantom.size={edge}",
        f"data.phantom.num_cases={batch + 2}",
        f"training.batch_size={batch}",
        f"training.sync_batch_norm={str(synchronized).lower()}",
        "data.split.val_fraction=0.1",
    ]
    config = load_config(None, settings)
    with joined_group() as group:
        setup = set_up(config, lambda _: None, group=group)
        network = setup.new_network()
        plan, _ = group.from_first(
            lambda: choose_plan(
                config.training, network, setup.first_batch, setup.loss, lambda _: None
            )
        )
        context = StepContext(setup, plan, group=group)
        state = TrainState.fresh(network, config.training, plan)
        gradients = Gradients(state, context)
        parts = [next(batches(setup.loader))]
        state.network.train()

        def step() -> float:
            start = time.perf_counter()
            train_step(state, gradients, parts, context, 1e-3)
            return time.perf_counter() - start

        seconds = [step() for _ in range(WARM_UP + STEPS)][WARM_UP:]
        with profile(activities=[ProfilerActivity.CPU]) as profiled:
            profiled_seconds = sum(step() for _ in range(STEPS))
        told = sum(
            event.cpu_time_total for event in profiled.key_averages() if "gloo:" in event.key
        )
        if group.leads:
            median = statistics.median(seconds)
            print(f"{batch / median:.1f} {told / 1e6 / profiled_seconds:.3f}")


def launch(words: list[str], processes: int) -> tuple[float, float]:
    """Images per second and the share of communication, in so many processes."""
    threads = max(1, (os.cpu_count() or 1) // processes)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes)]
    found = subprocess.run(
        [*command, __file__, "--worker", *words],
        capture_output=True,
        encoding="utf-8",
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
    )
    rate, share = found.stdout.split()[-2:]
    return float(rate), float(share)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--arch", default="lunet_small_4f")
    parser.add_argument("--edge", type=int, default=64)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--sync", action="store_true", help="with synchronised statistics")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        size = (arguments.arch, arguments.edge, arguments.batch)
        work(*size, synchronized=arguments.sync)
        return
    words = ["--arch", arguments.arch, "--edge", str(arguments.edge)]
    words += ["--batch", str(arguments.batch), *(["--sync"] if arguments.sync else [])]
    print(f"{machine_name()}, {os.cpu_count()} cores; {versions()}")
    for number in range(ROUNDS):
        for processes in (1, arguments.processes):
            rate, share = launch(words, processes)
            print(
                f"round {number + 1}: {arguments.arch}, batch {arguments.batch} of "
                f"{arguments.edge}^3, {processes} process(es): {rate:.1f} images/s, "
                f"communication {share:.1%}"
            )


if __name__ == "__main__":
    main()
