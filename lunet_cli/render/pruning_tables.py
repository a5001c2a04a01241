"""Prunings as tables."""

from __future__ import annotations

import math
from collections.abc import Callable

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from lunet_cli.results.evaluation import NonInferiority
from lunet_cli.results.pruning import PruneResult, PruningForecast, PruningStep
from lunet_cli.results.views import PrunedNetwork, PruningView
from lunet_cli.results.words import format_seconds, plural, visible

Cell = Callable[[PrunedNetwork], str]


def prune_table(result: PruneResult, view: PruningView) -> RenderableType:
    """How a pruning ended."""
    told = f"{result.architecture}, {result.num_parameters:,} parameters: {result.outcome}"
    if result.reason:
        told += f" ({result.reason})"
    end = Text(f"\n{format_seconds(result.seconds)}, run folder {visible(result.run_dir)}")
    return Group(Text(f"\n{visible(told)}", "bold"), steps_table(view), end)


def steps_table(view: PruningView) -> RenderableType:
    """The network before pruning beside the chosen one and the last one, and the rule."""
    networks = _columns(view)
    table = Table(box=None, pad_edge=False)
    table.add_column("", style="dim", no_wrap=True)
    for heading in networks:
        table.add_column(heading, justify="right", no_wrap=True)
    for name, cell in _rows(view):
        table.add_row(name, *map(cell, networks.values()))
    return Group(table, Text(), Text(_rule(view), "dim"))


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
        f"{min(removable, forecast.num_wanted):,} would be.",
        f"{forecast.parameters:,} parameters; without all that can be removed "
        f"{forecast.least_parameters:,}.",
    )
    return Group(Text(told, "bold"), table, Text(), Text("\n".join(lines)))


def _columns(view: PruningView) -> dict[str, PrunedNetwork]:
    """The three networks under their headings; those that are the same stand together."""
    found: dict[int, tuple[list[str], PrunedNetwork]] = {}
    for name, network in (
        ("unpruned", view.unpruned),
        ("chosen", view.chosen),
        ("last", view.last),
    ):
        found.setdefault(network.step.step, ([], network))[0].append(name)
    return {", ".join(names): network for names, network in found.values()}


def _rows(view: PruningView) -> list[tuple[str, Cell]]:
    """Name and cells of each row."""
    first, best = view.unpruned.step, view.steps[view.best]

    def removed(network: PrunedNetwork) -> str:
        if network.step == first:
            return ""
        return f"{1 - network.step.parameters / first.parameters:.1%}"

    rows: list[tuple[str, Cell]] = [
        ("step", lambda network: str(network.step.step)),
        ("parameters", lambda network: f"{network.step.parameters:,}"),
        ("  removed", removed),
        ("GFLOP at 64^3", lambda network: f"{network.step.flops / 1e9:.3f}"),
        ("channels", lambda network: f"{network.num_channels:,}"),
        ("widest / narrowest", lambda network: f"{network.width_ratio:.1f}"),
        ("validation Dice", lambda network: f"{network.step.val_dice:.4f}"),
        *_change_rows("minus unpruned", first, lambda network: network.from_unpruned),
    ]
    if best != first:
        title = f"minus step {best.step} (best)"
        rows += _change_rows(title, best, lambda network: network.from_best)
    return rows


def _change_rows(
    title: str, other: PruningStep, change: Callable[[PrunedNetwork], NonInferiority]
) -> list[tuple[str, Cell]]:
    """How Dice differs from another step, and the interval of that."""

    def mean(network: PrunedNetwork) -> str:
        if network.step == other:
            return ""
        return f"{change(network).mean:+.4f}"

    def interval(network: PrunedNetwork) -> str:
        if network.step == other:
            return ""
        return _bounds(change(network))

    return [(title, mean), ("  95 % CI", interval)]


def _bounds(change: NonInferiority) -> str:
    low, high = change.interval
    if math.isnan(low):
        return "-"
    return f"{low:+.4f} to {high:+.4f}"


def _rule(view: PruningView) -> str:
    cases = plural(len(view.steps[0].dice_per_case), "validation case")
    return (
        f"chosen: the last step whose Dice is not more than {view.margin:g} below that of the best,"
        f"\nby the lower end of the 95 % CI (paired, bootstrap over {cases}).\n"
        "Other cases than these tell how good it is: they have chosen it."
    )
