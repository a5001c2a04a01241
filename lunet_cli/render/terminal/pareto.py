"""Networks by quality and cost."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from lunet_cli.render.terminal.charts import draw_points
from lunet_cli.render.terminal.screen import Screen, mark_of
from lunet_cli.results.views import Pareto
from lunet_cli.results.words import visible


def draw_pareto(pareto: Pareto, screen: Screen) -> RenderableType:
    """A chart with a mark per network, and the table that names them."""
    chart = draw_points(
        [
            (point.cost, point.quality, mark_of(i), point.on_front)
            for i, point in enumerate(pareto.points, start=1)
        ],
        (pareto.cost, pareto.quality_label),
        screen,
    )
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    table.add_column("network", overflow="fold")
    table.add_column(pareto.quality, justify="right")
    table.add_column(pareto.cost, justify="right")
    table.add_column("front")
    for index, point in enumerate(pareto.points, start=1):
        cost = f"{point.cost:,.0f}" if float(point.cost).is_integer() else f"{point.cost:,.1f}"
        table.add_row(
            mark_of(index),
            point.name,
            f"{point.quality:.4f}",
            cost,
            Text("*" if point.on_front else "", "bold green"),
        )
    below = [Text("front *: no other is as good at a lower cost", "dim")]
    return Group(
        chart, table, *below, *([Text(visible(pareto.left_out_words))] if pareto.left_out else [])
    )
