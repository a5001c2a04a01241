"""The `benchmark` section: how long one forward pass takes, measured once training has ended."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from lunet_cli.config.base import Section

Positive = Annotated[int, Field(ge=1, le=4096)]


class BenchmarkConfig(Section):
    """Latency of the trained network."""

    enabled: bool = False
    """Whether to measure once training has ended."""

    warmup_runs: Annotated[int, Field(ge=0, le=10_000)] = 3
    """Forward passes before those that are timed."""

    timed_runs: Annotated[int, Field(ge=1, le=10_000)] = 10
    """Forward passes whose median is reported."""

    # 64^3 voxels are what the published FLOPs of the presets are counted for.
    input_size: tuple[Positive, Positive, Positive, Positive, Positive] = (1, 1, 64, 64, 64)
    """Size of the input: batch, channels, depth, height, width. The channels must be those of the
    network."""
