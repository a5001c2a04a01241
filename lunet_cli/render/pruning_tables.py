"""Prunings as tables."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from lunet_cli.render.prunings import compared_networks, rule_lines
from lunet_cli.results.pruning import PruneResult, PruningForecast
from lunet_cli.results.views import PruningView
from lunet_cli.results.words import format_seconds, plural, visible


def prune_table(result: PruneResult, view: PruningView) -> RenderableType:
    """How a pruning ended."""
    told = f"{result.architecture}, {result.num_parameters:,} parameters: {result.outcome}"
    if result.reason:
        told += f" ({result.reason})"
    end = Text(f"\n{format_seconds(result.seconds)}, run folder {visible(result.run_dir)}")
    return Group(Text(f"\n{visible(told)}", "bold"), steps_table(view), end)


def steps_table(view: PruningView) -> RenderableType:
    """The network before pruning beside the chosen one and the last one, and the rule."""
    headings, rows = compared_networks(view)
    table = Table(box=None, pad_edge=False)
    table.add_column("", style="dim", no_wrap=True)
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for name, *cells in rows:
        table.add_row(name, *cells)
    return Group(table, Text(), Text("\n".join(rule_lines(view)), "dim"))


def layers_table(forecast: PruningForecast) -> RenderableType:
    """The layers of a network, and what could be removed."""
    table = Table(box=None, pad_edge=False)
    table.add_column("layer", no_wrap=True)
    for name in ("level", "channels", "removable"):
        table.add_column(name, justify="right")
    removable = 0
    for layer in forecast.layers:
        can_go = Text(str(layer.num_removable))
        if layer.is_protected:
            can_go = Text("protected", "dim")
        table.add_row(layer.name, str(layer.level), str(layer.width), can_go)
        removable += layer.num_removable
    channels = sum(layer.width for layer in forecast.layers)
    told = f"{forecast.architecture}: dry run, nothing was written"
    layers = plural(len(forecast.layers), "layer")
    lines = (
        f"{plural(channels, 'channel')} in {layers}; {removable:,} of them can be removed, and "
        f"{forecast.num_wanted:,} would be.",
        f"{forecast.parameters:,} parameters; without all that can be removed "
        f"{forecast.least_parameters:,}.",
    )
    return Group(Text(told, "bold"), table, Text(), Text("\n".join(lines)))
