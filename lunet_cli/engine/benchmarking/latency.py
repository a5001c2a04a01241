"""How long one forward pass takes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor


def measure_latency_ms(
    forward: Callable[[Tensor], Tensor], image: Tensor, *, warmup_runs: int, timed_runs: int
) -> float:
    """Median time of a forward pass.

    Args:
        forward: The network.
        image: Input (B, C, D, H, W) on the device of the network.
        warmup_runs: Passes before the timed ones.
        timed_runs: Passes that count, at least 1.

    Returns:
        Milliseconds.
    """
    times = []
    with torch.inference_mode():
        for run in range(warmup_runs + timed_runs):
            _synchronize(image.device)
            start = time.perf_counter()
            forward(image)
            _synchronize(image.device)
            if run >= warmup_runs:
                times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times)


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
