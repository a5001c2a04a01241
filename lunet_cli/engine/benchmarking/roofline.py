"""What the machine reaches at best: a matrix product and a copy, in a process as of a row."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass

import torch

from lunet_cli.config.vocabulary import Precision
from lunet_cli.engine.networks.execution import DTYPES
from lunet_cli.engine.runtimes.timing import time_passes_ms
from lunet_cli.results.benchmarking import Roofline
from lunet_cli.results.words import plural

# 17 GFLOP: large enough for the best kernels, and a second at most on one slow core.
_EDGE = 2048
# Far more than caches hold.
_COPY_BYTES = 256 * 2**20
_RUNS = 7


@dataclass(frozen=True)
class Probe:
    """Where and how to measure."""

    device: str
    num_threads: int
    precision: Precision

    def __str__(self) -> str:
        threads = plural(self.num_threads, "thread")
        return f"rooflines of {self.device} in {self.precision}, {threads}"


def prepare_probe(probe: Probe) -> Callable[[None], Roofline]:
    """Fill matrices and arrays, ready to be timed."""
    left = torch.randn(_EDGE, _EDGE, device=probe.device, dtype=DTYPES[probe.precision])
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
            # A multiplication and an addition for each of the edge^3 products.
            gflop_per_s=2 * _EDGE**3 / product_ms / 1e6,
            # Each byte is read once and written once.
            copy_gb_per_s=2 * _COPY_BYTES / copy_ms / 1e6,
        )

    return measure


def _median_ms(run: Callable[[], object], device: str) -> float:
    return statistics.median(time_passes_ms(run, device=device, warmup_runs=2, timed_runs=_RUNS))
