"""What the machine reaches at best: a matrix product and a copy, measured in a process like that of a row."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass

import torch

from lunet_cli.engine.networks.execution import Precision
from lunet_cli.engine.runtimes.timing import time_passes_ms
from lunet_cli.results.benchmarking import Roofline
from lunet_cli.results.words import plural

_EDGE = 2048
_COPY_BYTES = 256 * 2**20  # Far more than caches hold.
_RUNS = 7
_DTYPES: dict[Precision, torch.dtype] = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}


@dataclass(frozen=True)
class Probe:
    """Where and how to measure."""

    device: str
    num_threads: int
    precision: Precision

    def __str__(self) -> str:
        return (
            f"rooflines of {self.device} in {self.precision}, {plural(self.num_threads, 'thread')}"
        )


def prepare_probe(probe: Probe) -> Callable[[None], Roofline]:
    """Fill matrices and arrays, ready to be timed."""
    left = torch.randn(_EDGE, _EDGE, device=probe.device, dtype=_DTYPES[probe.precision])
    product = torch.empty_like(left)
    source = torch.ones(_COPY_BYTES // 4, device=probe.device)
    copy = torch.empty_like(source)

    def measure(_: None) -> Roofline:
        product_ms = _median_ms(lambda: torch.mm(left, left, out=product), probe.device)
        copy_ms = _median_ms(lambda: copy.copy_(source), probe.device)
        return Roofline(
            device=probe.device,
            num_threads=probe.num_threads,
            precision=probe.precision,
            gflop_per_s=2 * _EDGE**3 / product_ms / 1e6,
            copy_gb_per_s=2 * _COPY_BYTES / copy_ms / 1e6,
        )

    return measure


def _median_ms(run: Callable[[], object], device: str) -> float:
    return statistics.median(time_passes_ms(run, device=device, warmup_runs=2, timed_runs=_RUNS))
