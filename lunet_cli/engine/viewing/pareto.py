"""Networks by what they reach and what they cost."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lunet_cli.config.metrics import METRICS, MetricName
from lunet_cli.engine.evaluation.compare import compare
from lunet_cli.engine.evaluation.fronts import on_front
from lunet_cli.errors import ConfigError, DataError
from lunet_cli.results.views import CostName, Pareto, ParetoPoint

COSTS: dict[CostName, str] = {
    "parameters": "parameters",
    "flops": "FLOPs of the convolutions, 64 x 64 x 64 voxels",
    "latency": "median latency in ms",
}


@dataclass(frozen=True)
class _Network:
    name: str
    architecture: str
    quality: float
    costs: dict[str, float | None]


def pareto(
    sources: Sequence[Path], *, cost: CostName = "parameters", metric: MetricName = "dice", split: str = "val"
) -> Pareto:
    """Put networks beside each other.

    Args:
        sources: Evaluated run folders; files of `lunet compare --json`; files of `lunet bench --save`, whose rows give
            the runs of the same path or preset their latency.
        cost: What quality is drawn against.
        metric: What quality is, for run folders.
        split: Which evaluation of a run folder is meant.

    Raises:
        DataError: A source cannot be read, or fewer than two networks have that cost.
        ConfigError: The sources do not fit together.
    """
    runs = [path for path in sources if path.suffix != ".json"]
    documents = [(path, _read(path)) for path in sources if path.suffix == ".json"]
    measured = [(path, values) for path, values in documents if str(values.get("format", "")).startswith("lunet bench")]
    compared = [(path, values) for path, values in documents if (path, values) not in measured]
    networks, quality = _of_documents(compared)
    if len(runs) == 1 and not networks:
        raise ConfigError(f"{runs[0]}: alone makes no front", hint="Name two evaluated runs or more.")
    if runs:
        result = compare(runs, metric=metric, split=split)
        if quality and quality != result.metric:
            raise ConfigError(f"--metric {metric}: {compared[0][0]} holds {quality}")
        quality = result.metric
        networks += [
            _Network(run.run, run.architecture, run.value, {"parameters": run.parameters, "flops": run.flops})
            for run in result.runs
        ]
    for path, values in measured:
        networks = _with_latency(networks, runs, path, values)
    networks = [network for network in networks if not math.isnan(network.quality)]
    costs = [network.costs.get(cost) for network in networks]
    if len(costs) - costs.count(None) < 2:
        hints = {"latency": "Measure them: lunet bench RUN RUN --save bench.json, and name that file too."}
        raise DataError(
            f"{len(costs) - costs.count(None)} of {len(costs)} networks have a known {cost}; it takes two",
            hint=hints.get(cost, "Name evaluated run folders (lunet eval RUN), or a file of lunet compare --json."),
        )
    better = METRICS[quality].better  # type: ignore[index]  # one of its keys
    fronts = on_front([network.quality for network in networks], costs, better)
    points = [
        ParetoPoint(network.name, network.quality, float(value), is_best)
        for network, value, is_best in zip(networks, costs, fronts, strict=True)
        if value is not None
    ]
    short = METRICS[quality].short  # type: ignore[index]
    label = f"mean {short}{f' in {METRICS[quality].unit}' if METRICS[quality].unit else ''}"  # type: ignore[index]
    return Pareto(label, COSTS[cost], tuple(sorted(points, key=lambda point: point.cost)), better == "higher")


def _read(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    except ValueError as error:
        raise DataError(f"{path}: no valid JSON ({error})") from None
    if not isinstance(values, dict) or not ({"runs", "metric"} <= values.keys() or "format" in values):
        raise DataError(
            f"{path}: holds no networks to draw",
            hint="It takes a file of lunet compare --json > FILE, or of lunet bench --save FILE.",
        )
    return values


def _of_documents(documents: Sequence[tuple[Path, dict[str, Any]]]) -> tuple[list[_Network], str]:
    """The networks of `lunet compare --json`, and their metric; empty without a document."""
    networks: list[_Network] = []
    metric = ""
    for path, values in documents:
        try:
            if metric and values["metric"] != metric:
                raise ConfigError(f"{path}: holds {values['metric']}, and {documents[0][0]} {metric}")
            metric = str(values["metric"])
            if metric not in METRICS:
                raise DataError(f"{path}: knows a metric {metric}, which this lunet does not")
            networks += [
                _Network(
                    str(run["run"]),
                    str(run["architecture"]),
                    math.nan if run["value"] is None else float(run["value"]),
                    {"parameters": run["parameters"], "flops": run["flops"]},
                )
                for run in values["runs"]
            ]
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path}: is no file of lunet compare --json ({error!r})") from None
    return networks, metric


def _with_latency(
    networks: Sequence[_Network], runs: Sequence[Path], path: Path, values: dict[str, Any]
) -> list[_Network]:
    """Give each network its fastest row: of its own checkpoint, or else of its preset."""
    places = {run.resolve().name: run.resolve() for run in runs} | {str(run): run.resolve() for run in runs}
    try:
        rows = list(values["rows"])
        shapes = {tuple(row["input_shape"]) for row in rows}
        if len(shapes) > 1:
            raise ConfigError(
                f"{path}: holds rows of {len(shapes)} sizes, which cannot be compared",
                hint="Measure one size: lunet bench RUN RUN --size 64 --save FILE.",
            )

        def latency(network: _Network) -> float | None:
            place = places.get(network.name)
            own = [row for row in rows if row["source"] and place and Path(row["source"]).resolve().parent == place]
            fitting = own or [row for row in rows if row["arch"] == network.architecture]
            return min((float(row["latency_ms"]["median"]) for row in fitting), default=None)

        return [replace(one, costs=one.costs | {"latency": latency(one)}) for one in networks]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: is no file of lunet bench --save ({error!r})") from None
