"""Networks by what they reach and what they cost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from lunet_cli.config.metrics import METRICS, MetricName
from lunet_cli.engine.evaluation.compare import compare
from lunet_cli.engine.viewing.costed import COSTS, CostedNetwork, circumstances, pareto_of
from lunet_cli.errors import ConfigError, DataError
from lunet_cli.records.bench import BenchRecord
from lunet_cli.records.comparison import ComparisonRecord
from lunet_cli.records.files import read_bytes
from lunet_cli.records.record import is_marked_as, parse_record
from lunet_cli.results.benchmarking import BenchRow
from lunet_cli.results.evaluation import ComparedRun
from lunet_cli.results.views import CostName, Pareto

# What must be the same of latencies that are compared, and the field that tells it.
_CIRCUMSTANCES = {
    "sizes": "input_shape",
    "devices": "device",
    "numbers of threads": "num_threads",
}


def pareto(
    sources: Sequence[Path],
    *,
    cost: CostName = "parameters",
    metric: MetricName | None = None,
    evaluation: str | None = None,
) -> Pareto:
    """Put networks beside each other.

    Args:
        sources: Evaluated run folders; files of comparisons; files of measurements, whose rows
            give the runs of the same path or preset their latency.
        cost: What quality is drawn against.
        metric: What quality is; None takes that of the files, or Dice.
        evaluation: Which one of the run folders is meant, a folder in `RUN/eval`; None takes `val`.

    Raises:
        DataError: A source cannot be read, or fewer than two networks have that cost.
        ConfigError: The sources do not fit together, or `evaluation` does not concern them.
    """
    runs, comparisons, benches = _sorted(sources)
    if benches and cost != "latency":
        raise ConfigError(
            f"{next(iter(benches))}: holds latencies", hint="To draw them: `cost=latency`"
        )
    if evaluation is not None and not runs:
        raise ConfigError("`evaluation`: goes with run folders, and there is none")
    quality = _common_metric(comparisons, metric)
    networks: list[CostedNetwork] = []
    for comparison in comparisons.values():
        networks += map(_network, comparison.runs)
    networks += _of_runs(runs, quality, evaluation or "val", is_alone=not networks)
    _require_different(networks)
    if not networks:
        raise ConfigError(
            "no networks are named, only latencies", hint="Name the evaluated runs too."
        )
    label = COSTS.get(cost, "")
    if cost == "latency":
        rows = _forward_rows(benches.values())
        networks = _with_latency(networks, runs, rows)
        label = f"median latency in ms{circumstances(rows)}"
    return pareto_of(networks, cost, label, quality)


def _sorted(
    sources: Sequence[Path],
) -> tuple[list[Path], dict[Path, ComparisonRecord], dict[Path, BenchRecord]]:
    """Run folders, comparisons and measurements."""
    runs: list[Path] = []
    comparisons: dict[Path, ComparisonRecord] = {}
    benches: dict[Path, BenchRecord] = {}
    for path in sources:
        if path.suffix != ".json":
            runs.append(path)
            continue
        file = _read(path)
        if isinstance(file, BenchRecord):
            benches[path] = file
        else:
            comparisons[path] = file
    return runs, comparisons, benches


def _forward_rows(benches: Iterable[BenchRecord]) -> list[BenchRow]:
    """Those of forward passes: a training step takes several times as long."""
    rows: list[BenchRow] = []
    for bench in benches:
        rows += filter(lambda row: row.mode == "forward", bench.rows)
    return rows


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
                hint=f"To get that: `compare(RUN, RUN, metric={wanted})`",
            )
        wanted = file.metric
    return wanted or "dice"


def _network(run: ComparedRun) -> CostedNetwork:
    return CostedNetwork(
        run.run, run.architecture, run.value, {"parameters": run.parameters, "flops": run.flops}
    )


def _of_runs(
    runs: Sequence[Path], metric: MetricName, evaluation: str, *, is_alone: bool
) -> list[CostedNetwork]:
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
    compared = compare(runs, metric=metric, evaluation=evaluation).runs
    if not compared[0].num_cases:
        raise DataError(
            f"{', '.join(map(str, runs))}: have no case in common where"
            f" {METRICS[metric].short} is defined for all",
            hint="Evaluate them on the same cases: `evaluate(RUN, data=FOLDER)`",
        )
    return [*map(_network, compared)]


def _require_different(networks: Sequence[CostedNetwork]) -> None:
    names: set[str] = set()
    for network in networks:
        if network.name in names:
            raise ConfigError(
                f"{network.name}: is there twice",
                hint="Name each run once, as a folder or in a file.",
            )
        names.add(network.name)


def _with_latency(
    networks: Sequence[CostedNetwork], runs: Sequence[Path], rows: Sequence[BenchRow]
) -> list[CostedNetwork]:
    """Give each network its fastest row: of its own checkpoint, or else of its preset."""
    _require_alike(rows)
    places: dict[str, Path] = {}
    for run in runs:
        # A comparison calls a run by its folder, or by its path where several are called alike.
        places[run.resolve().name] = places[str(run)] = run.resolve()
    found = []
    for network in networks:
        place = places.get(network.name)
        own, of_preset = [], []
        for row in rows:
            if row.source and Path(row.source).resolve().parent == place:
                own.append(row.latency_ms.median)
            if row.arch == network.architecture:
                of_preset.append(row.latency_ms.median)
        latency = min(own or of_preset, default=None)
        found.append(replace(network, costs=network.costs | {"latency": latency}))
    return found


def _require_alike(rows: Sequence[BenchRow]) -> None:
    """Raise if latencies were not measured on the same input by the same processor."""
    for what, field in _CIRCUMSTANCES.items():
        different = sorted({getattr(row, field) for row in rows})
        if len(different) > 1:
            raise ConfigError(
                f"latencies of {len(different)} {what} ({', '.join(map(str, different))})"
                " cannot be compared",
                hint="Measure all of them in one call: `benchmark(RUN, RUN, save=FILE)`",
            )
