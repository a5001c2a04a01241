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
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    table.add_column("network", overflow="fold")
    table.add_column(pareto.quality, justify="right")
    table.add_column(pareto.cost, justify="right")
    table.add_column("front")
    marked = []
    for index, point in enumerate(pareto.points, start=1):
        mark = mark_of(index)
        marked.append((point.cost, point.quality, mark, point.on_front))
        star = Text("*" * point.on_front, "bold green")
        table.add_row(mark, point.name, f"{point.quality:.4f}", _cost(point.cost), star)
    parts: list[RenderableType] = [
        draw_points(marked, (pareto.cost, pareto.quality_label), screen),
        table,
        Text("front *: no other is as good at a lower cost", "dim"),
    ]
    if pareto.left_out:
        parts.append(Text(visible(pareto.left_out_words)))
    return Group(*parts)


def _cost(value: float) -> str:
    """Parameters and FLOPs are counted, milliseconds have a fraction."""
    if float(value).is_integer():
        return f"{value:,.0f}"
    return f"{value:,.1f}"
