"""What a measurement of networks reports and returns."""

from __future__ import annotations

from dataclasses import dataclass

from lunet_cli.results.events import CaseFailed, Event
from lunet_cli.results.words import plural


@dataclass(frozen=True)
class BenchStarted(Event):
    """Everything that can be known before has been checked.

    Args:
        num_rows: Measurements to make.
        num_groups: Groups that are measured one after the other, since memory does not hold all at
            once.
    """

    num_rows: int
    num_groups: int

    def __str__(self) -> str:
        rows = f"{plural(self.num_rows, 'row')}, in turns"
        # Rows of one group are measured in turns; who compares rows of two should know.
        if self.num_groups == 1:
            return rows
        return f"{rows} within {self.num_groups} groups"


@dataclass(frozen=True)
class RowPrepared(Event):
    """The process of a row is ready and warm.

    Args:
        row: What is measured, in words.
        num_done: Rows prepared so far.
        num_rows: All rows.
    """

    row: str
    num_done: int
    num_rows: int

    def __str__(self) -> str:
        return f"prepared {self.num_done} of {self.num_rows}: {self.row}"


@dataclass(frozen=True)
class RoundDone(Event):
    """Every row that needs more passes has had a turn.

    Args:
        num_passes: Timed passes of all rows so far.
        total: Timed passes of all rows in the end.
    """

    num_passes: int
    total: int

    def __str__(self) -> str:
        return f"timed {self.num_passes} of {self.total} passes"


@dataclass(frozen=True)
class Latency:
    """Times of single passes, in milliseconds.

    Args:
        median: The middle.
        iqr: From the first to the third quartile.
        p95: 95th percentile.
    """

    median: float
    iqr: float
    p95: float


@dataclass(frozen=True)
class Roofline:
    """What this machine reaches at best, measured with PyTorch.

    Args:
        device: Where.
        num_threads: CPU threads.
        precision: Arithmetic of the matrix product.
        gflop_per_s: A product of two large square matrices.
        copy_gb_per_s: 10^9 bytes read or written per second while a large array is copied.
    """

    device: str
    num_threads: int
    precision: str
    gflop_per_s: float
    copy_gb_per_s: float


@dataclass(frozen=True)
class BenchRow:
    """One network, computed in one way.

    Args:
        arch: Name of the preset.
        source: The file that holds the network; None for a preset or configuration.
        mode: `forward` or `training step`.
        input_shape: Batch, channels, depth, height, width.
        out_channels: Logit channels.
        runtime: What computes.
        precision: Arithmetic of the convolutions.
        device: Where.
        num_threads: CPU threads.
        parameters: Trainable parameters.
        macs: Multiply-accumulates of the convolutions in one pass over the batch.
        flops: Twice as many.
        ptflops_macs: What ptflops counts in a forward pass: bias, normalisation, activation and
            pooling as well.
        size_on_disk_bytes: The file of the network, or its weights as PyTorch saves them.
        activation_mib: Estimated peak of the activations of one pass.
        latency_ms: Times.
        num_runs: Timed passes.
        throughput_per_s: Samples per second at the median.
        gflop_per_s: FLOPs of the convolutions per second at the median, in 10^9.
        peak_share: `gflop_per_s` as a share of that of a matrix product.
        bandwidth_share: Bytes per second that convolutions and pooling move at least, as a share of
            those of a copy.
        peak_memory_mib: Peak of the process while it was timed, with Python and its libraries; on
            CUDA, of tensors.
        energy_j: Joules of the processor package per pass; None where it does not tell.
        ratio: How many times as fast as the baseline, by the medians; None without one.
        before_ms: Median of the same row in the file that is compared with.
        before_ratio: Median as a multiple of that.
    """

    arch: str
    source: str | None
    mode: str
    input_shape: tuple[int, ...]
    out_channels: int
    runtime: str
    precision: str
    device: str
    num_threads: int
    parameters: int
    macs: int
    flops: int
    ptflops_macs: int
    size_on_disk_bytes: int
    activation_mib: float
    latency_ms: Latency
    num_runs: int
    throughput_per_s: float
    gflop_per_s: float
    peak_share: float
    bandwidth_share: float
    peak_memory_mib: float
    energy_j: float | None
    ratio: float | None = None
    before_ms: float | None = None
    before_ratio: float | None = None

    @property
    def name(self) -> str:
        """What people call the network: its preset, and its file where it has one."""
        if self.source is None:
            return self.arch
        return f"{self.arch} {self.source}"

    @property
    def settings(self) -> dict[str, str]:
        """In words, all that can differ between rows of one network."""
        batch, channels, *size = self.input_shape
        mode = self.mode
        if mode == "forward":
            mode = "forward pass"
        return {
            "mode": mode,
            "size": "x".join(map(str, size)),
            "batch": f"batch {batch}",
            "channels": f"{channels} to {self.out_channels} channels",
            "runtime": self.runtime,
            "precision": self.precision,
            "device": f"on {self.device}",
            "threads": plural(self.num_threads, "thread"),
        }


@dataclass(frozen=True)
class BenchResult:
    """What a measurement ended with.

    Args:
        rows: In the order in which they were asked for.
        failures: Rows that could not be measured.
        rooflines: What the machine reaches at best.
        machine: Processor and accelerator in words.
        versions: Versions of lunet, Python and the libraries.
        baseline: The row or rows that `ratio` refers to, in words; empty without ratios.
    """

    rows: tuple[BenchRow, ...]
    failures: tuple[CaseFailed, ...]
    rooflines: tuple[Roofline, ...]
    machine: str
    versions: dict[str, str]
    baseline: str
