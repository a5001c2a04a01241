"""One row of a measurement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lunet_cli.engine.benchmarking.subjects import Shape, Subject
from lunet_cli.engine.networks.execution import Precision
from lunet_cli.engine.runtimes.runtime import RuntimeName
from lunet_cli.results.words import plural

Mode = Literal["forward", "training step"]
AUTO: Literal["auto"] = "auto"


@dataclass(frozen=True)
class RowPlan:
    """One row: a network, computed in one way.

    Args:
        subject: The network, with the channels of this row.
        shape: Batch, channels, depth, height, width.
        runtime: What computes; `auto` until one has been selected.
        precision: Arithmetic; `auto` likewise.
        device: Where.
        num_threads: CPU threads.
        mode: What a pass is.
        warmup_runs: Passes before the timed ones.
        timed_runs: Timed passes.
    """

    subject: Subject
    shape: Shape
    runtime: RuntimeName | Literal["auto"]
    precision: Precision | Literal["auto"]
    device: str
    num_threads: int
    mode: Mode
    warmup_runs: int
    timed_runs: int

    def __str__(self) -> str:
        batch, _, *size = self.shape
        edges = "x".join(map(str, size))
        how = self.runtime if self.precision == AUTO else f"{self.runtime} {self.precision}"
        threads = plural(self.num_threads, "thread")
        what = f"{self.subject.name}, {how} on {self.device}"
        return f"{what}, {'' if batch == 1 else f'{batch} x '}{edges}, {threads}"

    @property
    def worst_precision(self) -> Precision:
        """The precision that takes the most memory."""
        return "fp32" if self.precision == "auto" else self.precision
