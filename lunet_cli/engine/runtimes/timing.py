"""How long forward passes take."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch


def time_passes_ms(
    run: Callable[[], object], *, device: str, warmup_runs: int, timed_runs: int
) -> list[float]:
    """Times of single passes.

    Args:
        run: One pass.
        device: Where it computes; on an accelerator a pass ends when the device has finished it.
        warmup_runs: Passes before the timed ones.
        timed_runs: Passes that count.

    Returns:
        Milliseconds of each timed pass.
    """
    times = []
    with torch.inference_mode():
        for number in range(warmup_runs + timed_runs):
            # An accelerator works on while the program goes on: without waiting, a pass would end
            # before it has begun.
            _synchronize(device)
            start = time.perf_counter()
            run()
            _synchronize(device)
            if number >= warmup_runs:
                times.append(1000 * (time.perf_counter() - start))
    return times


def _synchronize(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
    elif device == "mps":
        torch.mps.synchronize()
