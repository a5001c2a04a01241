"""Networks of which quality and costs are known, as points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lunet_cli.config.metrics import METRICS, MetricName
from lunet_cli.engine.evaluation.fronts import on_front
from lunet_cli.errors import DataError
from lunet_cli.results.benchmarking import BenchRow
from lunet_cli.results.views import CostName, Pareto, ParetoPoint
from lunet_cli.results.words import plural

COSTS = {"parameters": "parameters", "flops": "FLOPs of the convolutions, 64 x 64 x 64 voxels"}
"""Costs that a network has by itself, in words."""

_HINTS: dict[CostName, str] = {
    "latency": "Measure them, and name that file too: `benchmark(RUN, RUN, save=bench.json)`"
}
_USUAL_HINT = "Name run folders that were evaluated, or a comparison: `evaluate(RUN)`"


@dataclass(frozen=True)
class CostedNetwork:
    """A network among others.

    Args:
        name: What it is called.
        architecture: Its preset.
        quality: Its Dice, or another metric.
        costs: What it takes, by the name of the cost; None where that is not known.
    """

    name: str
    architecture: str
    quality: float
    costs: dict[str, float | None]


def pareto_of(
    networks: Sequence[CostedNetwork], cost: CostName, label: str, metric: MetricName
) -> Pareto:
    """Those whose quality and cost are known, and which of them no other one beats.

    Args:
        networks: The networks.
        cost: What quality is drawn against.
        label: That with its unit, in words.
        metric: What quality is.

    Raises:
        DataError: Fewer than two have both.
    """
    known: list[CostedNetwork] = []
    left_out: list[str] = []
    for network in networks:
        if math.isnan(network.quality):
            left_out.append(f"{network.name}: no {METRICS[metric].short}")
        elif network.costs.get(cost) is None:
            left_out.append(f"{network.name}: no known {cost}")
        else:
            known.append(network)
    if len(known) < 2:
        raise DataError(
            f"{len(known)} of {len(networks)} networks have both {METRICS[metric].short}"
            f" and {cost}; it takes two",
            hint=_HINTS.get(cost, _USUAL_HINT),
        )
    return Pareto(
        quality=_quality_words(metric),
        cost=label,
        points=_points_of(known, cost, metric),
        higher_is_better=METRICS[metric].better == "higher",
        left_out=tuple(left_out),
    )


def _points_of(
    networks: Sequence[CostedNetwork], cost: CostName, metric: MetricName
) -> tuple[ParetoPoint, ...]:
    """The networks by ascending cost, which is known of all of them."""
    qualities, costs = [], []
    for network in networks:
        qualities.append(network.quality)
        costs.append(float(network.costs[cost] or 0))
    better = METRICS[metric].better
    fronts = on_front(qualities, costs, better)
    # Of a difference, only its size is good or bad.
    if better == "zero":
        qualities = [*map(abs, qualities)]
    points = []
    for network, quality, value, is_best in zip(networks, qualities, costs, fronts, strict=True):
        points.append(ParetoPoint(network.name, quality, value, is_best))
    return tuple(sorted(points, key=lambda point: point.cost))


def _quality_words(metric: MetricName) -> str:
    facts = METRICS[metric]
    words = f"mean {facts.short}"
    if facts.better == "zero":
        words = f"|{words}|"
    if facts.unit:
        words += f" in {facts.unit}"
    return words


def circumstances(rows: Sequence[BenchRow]) -> str:
    """What all rows were measured on, in words."""
    if not rows:
        return ""
    batch, _, *size = rows[0].input_shape
    shape = " x ".join(map(str, size))
    if batch > 1:
        shape = f"{batch} x {shape}"
    where = rows[0].device
    # Threads of the processor decide little where an accelerator computes.
    if where == "cpu":
        where += f", {plural(rows[0].num_threads, 'thread')}"
    return f", {shape} voxels on {where}"
