"""Networks and latencies from the files that `lunet compare --json` and `lunet bench --save` leave."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, PositiveFloat, PositiveInt, ValidationError

from lunet_cli.config.metrics import MetricName
from lunet_cli.errors import DataError


class SavedRun(BaseModel):
    """A run of a comparison; null where something is not known."""

    run: str
    architecture: str
    value: float | None
    parameters: PositiveInt | None
    flops: PositiveInt | None


class SavedComparison(BaseModel):
    """What `lunet compare --json` prints."""

    metric: MetricName
    runs: list[SavedRun]


class SavedLatency(BaseModel):
    """How long a pass took, in ms."""

    median: PositiveFloat


class SavedRow(BaseModel):
    """A row of a measurement."""

    arch: str
    source: Path | None
    mode: str
    input_shape: tuple[int, ...]
    device: str
    num_threads: int
    latency_ms: SavedLatency


class SavedBench(BaseModel):
    """What `lunet bench --save` writes."""

    rows: list[SavedRow]


def read_saved(path: Path) -> SavedComparison | SavedBench:
    """Read a file of either kind.

    Raises:
        DataError: It cannot be read, or is neither.
    """
    try:
        values: Any = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    except ValueError as error:
        raise DataError(f"{path}: no valid JSON ({error})") from None
    is_bench = isinstance(values, dict) and str(values.get("format", "")).startswith("lunet bench")
    if not is_bench and not (isinstance(values, dict) and {"runs", "metric"} <= values.keys()):
        raise DataError(
            f"{path}: holds no networks to draw",
            hint="It takes a file of lunet compare --json > FILE, or of lunet bench --save FILE.",
        )
    try:
        return SavedBench.model_validate(values) if is_bench else SavedComparison.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        what, where = ("bench --save" if is_bench else "compare --json"), ".".join(map(str, first["loc"]))
        raise DataError(f"{path}: is no file of lunet {what} ({where}: {first['msg']})") from None
