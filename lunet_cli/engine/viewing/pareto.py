"""Networks by what they reach and what they cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lunet_cli.config.metrics import METRICS, MetricName
from lunet_cli.engine.evaluation.compare import compare
from lunet_cli.engine.evaluation.fronts import on_front
from lunet_cli.errors import ConfigError, DataError
from lunet_cli.records.bench import BenchRecord
from lunet_cli.records.comparison import ComparisonRecord
from lunet_cli.records.files import read_bytes
from lunet_cli.records.record import is_marked_as, parse_record
from lunet_cli.results.benchmarking import BenchRow
from lunet_cli.results.evaluation import ComparedRun
from lunet_cli.results.views import CostName, Pareto, ParetoPoint
from lunet_cli.results.words import plural

_COSTS = {"parameters": "parameters", "flops": "FLOPs of the convolutions, 64 x 64 x 64 voxels"}


@dataclass(frozen=True)
class _Network:
    name: str
    architecture: str
    quality: float
    costs: dict[str, float | None]


def pareto(
    sources: Sequence[Path],
    *,
    cost: CostName = "parameters",
    metric: MetricName | None = None,
    split: str | None = None,
) -> Pareto:
    """Put networks beside each other.

    Args:
        sources: Evaluated run folders; files of `lunet compare --json`; files of `lunet bench
            --save`, whose rows give the runs of the same path or preset their latency.
        cost: What quality is drawn against.
        metric: What quality is; None takes that of the files, or Dice.
        split: Which evaluation of the run folders is meant; None takes `val`.

    Raises:
        DataError: A source cannot be read, or fewer than two networks have that cost.
        ConfigError: The sources do not fit together, or an option does not concern them.
    """
    runs = [path for path in sources if path.suffix != ".json"]
    saved = {path: _read(path) for path in sources if path.suffix == ".json"}
    comparisons = {path: file for path, file in saved.items() if isinstance(file, ComparisonRecord)}
    benches = {path: file for path, file in saved.items() if isinstance(file, BenchRecord)}
    if benches and cost != "latency":
        raise ConfigError(
            f"{next(iter(benches))}: holds latencies", hint="To draw them: --cost latency"
        )
    if split is not None and not runs:
        raise ConfigError("--split: goes with run folders, and there is none")
    quality = _common_metric(comparisons, metric)
    networks = [_network(run) for file in comparisons.values() for run in file.runs]
    networks += _of_runs(runs, quality, split or "val", is_alone=not networks)
    _require_different(networks)
    label = _COSTS.get(cost, "")
    if cost == "latency":
        rows = [row for file in benches.values() for row in file.rows if row.mode == "forward"]
        networks = _with_latency(networks, runs, rows)
        label = f"median latency in ms{_circumstances(rows)}"
    return _draw(networks, cost, label, quality)


def _read(path: Path) -> ComparisonRecord | BenchRecord:
    """A file of either kind."""
    text = read_bytes(path, hint=ComparisonRecord.written_by)
    if is_marked_as(BenchRecord, text):
        return parse_record(BenchRecord, text, str(path))
    return parse_record(ComparisonRecord, text, str(path))


def _common_metric(
    comparisons: dict[Path, ComparisonRecord], wanted: MetricName | None
) -> MetricName:
    for path, file in comparisons.items():
        if wanted is not None and file.metric != wanted:
            raise ConfigError(
                f"{path}: holds {file.metric}, and not {wanted}",
                hint=f"lunet compare --metric {wanted}",
            )
        wanted = file.metric
    return wanted or "dice"


def _network(run: ComparedRun) -> _Network:
    return _Network(
        run.run, run.architecture, run.value, {"parameters": run.parameters, "flops": run.flops}
    )


def _of_runs(
    runs: Sequence[Path], metric: MetricName, split: str, *, is_alone: bool
) -> list[_Network]:
    if len(runs) == 1 and is_alone and not runs[0].is_dir():
        raise DataError(
            f"{runs[0]}: there is no such folder",
            hint="Name evaluated run folders, or .json files.",
        )
    if len(runs) == 1 and is_alone:
        raise ConfigError(
            f"{runs[0]}: alone makes no front", hint="Name two evaluated runs or more."
        )
    if not runs:
        return []
    compared = compare(runs, metric=metric, evaluation=split).runs
    if not compared[0].num_cases:
        raise DataError(
            f"{', '.join(map(str, runs))}: have no case in common where {METRICS[metric].short} is defined for all",
            hint="Evaluate them on the same cases: lunet eval RUN --data FOLDER",
        )
    return [_network(run) for run in compared]


def _require_different(networks: Sequence[_Network]) -> None:
    names = [network.name for network in networks]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(
            f"{twice}: is there twice", hint="Name each run once, as a folder or in a file."
        )


def _with_latency(
    networks: Sequence[_Network], runs: Sequence[Path], rows: Sequence[BenchRow]
) -> list[_Network]:
    """Give each network its fastest row: of its own checkpoint, or else of its preset."""
    for what, different in (
        ("sizes", {row.input_shape for row in rows}),
        ("devices", {row.device for row in rows}),
        ("numbers of threads", {row.num_threads for row in rows}),
    ):
        if len(different) > 1:
            raise ConfigError(
                f"latencies of {len(different)} {what} ({', '.join(map(str, sorted(different)))}) cannot be compared",
                hint="Measure alike: lunet bench RUN RUN --size 64 --device cpu --threads 2 --save FILE",
            )
    places = {run.resolve().name: run.resolve() for run in runs} | {
        str(run): run.resolve() for run in runs
    }

    def latency(network: _Network) -> float | None:
        place = places.get(network.name)
        own = [
            row
            for row in rows
            if row.source and place and Path(row.source).resolve().parent == place
        ]
        fitting = own or [row for row in rows if row.arch == network.architecture]
        return min((row.latency_ms.median for row in fitting), default=None)

    return [replace(one, costs=one.costs | {"latency": latency(one)}) for one in networks]


def _circumstances(rows: Sequence[BenchRow]) -> str:
    """What all rows were measured on, in words."""
    if not rows:
        return ""
    batch, _, *size = rows[0].input_shape
    threads = plural(rows[0].num_threads, "thread")
    where = f"{rows[0].device}, {threads}" if rows[0].device == "cpu" else rows[0].device
    return f", {'' if batch == 1 else f'{batch} x '}{' x '.join(map(str, size))} voxels on {where}"


def _draw(networks: Sequence[_Network], cost: CostName, label: str, metric: MetricName) -> Pareto:
    facts = METRICS[metric]
    known = [
        one for one in networks if one.costs.get(cost) is not None and not math.isnan(one.quality)
    ]
    if not networks:
        raise ConfigError(
            "no networks are named, only latencies", hint="Name the evaluated runs too."
        )
    if len(known) < 2:
        hints = {
            "latency": "Measure them: lunet bench RUN RUN --save bench.json, and name that file too."
        }
        raise DataError(
            f"{len(known)} of {len(networks)} networks have both {facts.short} and {cost}; it takes two",
            hint=hints.get(
                cost,
                "Name evaluated run folders (lunet eval RUN), or a file of lunet compare --json.",
            ),
        )
    costs = [float(one.costs[cost] or 0) for one in known]
    fronts = on_front([one.quality for one in known], costs, facts.better)
    is_signed = facts.better == "zero"
    points = [
        ParetoPoint(one.name, abs(one.quality) if is_signed else one.quality, value, is_best)
        for one, value, is_best in zip(known, costs, fronts, strict=True)
    ]
    unit = f" in {facts.unit}" if facts.unit else ""
    return Pareto(
        quality=f"|mean {facts.short}|{unit}" if is_signed else f"mean {facts.short}{unit}",
        cost=label,
        points=tuple(sorted(points, key=lambda point: point.cost)),
        higher_is_better=facts.better == "higher",
        left_out=tuple(
            f"{one.name}: {f'no {facts.short}' if math.isnan(one.quality) else f'no known {cost}'}"
            for one in networks
            if one not in known
        ),
    )
