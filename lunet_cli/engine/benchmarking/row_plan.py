"""One row of a measurement: which network is computed, and how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lunet_cli.config.vocabulary import Precision, PrecisionChoice, RuntimeChoice
from lunet_cli.engine.benchmarking.targets import BenchTarget, Shape
from lunet_cli.results.words import plural

Mode = Literal["forward", "training step"]
AUTO: Literal["auto"] = "auto"


@dataclass(frozen=True, kw_only=True)
class RowPlan:
    """One row: a network, computed in one way.

    Args:
        target: The network, with the channels of this row.
        shape: Batch, channels, depth, height, width.
        runtime: What computes; `auto` until one has been selected.
        precision: Arithmetic; `auto` likewise.
        device: Where.
        num_threads: CPU threads.
        mode: What a pass is.
        warmup_runs: Passes before the timed ones.
        timed_runs: Timed passes.
    """

    target: BenchTarget
    shape: Shape
    runtime: RuntimeChoice
    precision: PrecisionChoice
    device: str
    num_threads: int
    mode: Mode
    warmup_runs: int
    timed_runs: int

    def __str__(self) -> str:
        batch, _, *size = self.shape
        voxels = "x".join(map(str, size))
        if batch > 1:
            voxels = f"{batch} x {voxels}"
        how: str = self.runtime
        if self.precision != AUTO:
            how = f"{how} {self.precision}"
        threads = plural(self.num_threads, "thread")
        return f"{self.target.name}, {how} on {self.device}, {voxels}, {threads}"

    @property
    def is_training(self) -> bool:
        """Whether a pass is a training step."""
        return self.mode == "training step"

    @property
    def largest_precision(self) -> Precision:
        """The precision that takes the most memory."""
        if self.precision == AUTO:
            return "fp32"
        return self.precision
