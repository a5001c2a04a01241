"""What pictures and tables of a pruning hold, whatever they are drawn with."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from lunet_cli.render.curves import Line, Panel
from lunet_cli.results.evaluation import NonInferiority
from lunet_cli.results.pruning import PruningStep
from lunet_cli.results.views import PrunedNetwork, PruningView
from lunet_cli.results.words import plural

Cell = Callable[[PrunedNetwork], str]


def dice_panel(view: PruningView) -> Panel:
    """Validation Dice after recovery against parameters, and the Dice that may be lost."""
    parameters = np.array([float(step.parameters) for step in view.steps])
    dice = np.array([step.val_dice for step in view.steps])
    # From the smallest network on, as the axis runs.
    order = np.argsort(parameters, kind="stable")
    chosen = order.tolist().index(view.chosen.step.step)
    measured = Line(
        name="after recovery",
        color=0,
        x=parameters[order],
        y=dice[order],
        raw=dice[order],
        best=chosen,
    )
    compared = view.steps[view.best]
    if view.reference == "unpruned":
        compared = view.unpruned.step
    limit = np.full(len(order), compared.val_dice - view.margin)
    allowed = Line(
        name=f"{view.reference} minus {view.margin:g}",
        color=1,
        x=measured.x,
        y=limit,
        raw=limit,
        is_faint=True,
    )
    return Panel(
        title="Validation Dice",
        x_label="parameters",
        y_label="Dice",
        lines=(measured, allowed),
        log_x=True,
        mark=f"chosen: step {view.chosen.step.step}",
    )


def width_panel(view: PruningView) -> Panel:
    """Channels of the widest and the narrowest layer, and the mean over layers, at each step."""
    widths = np.array([list(step.widths.values()) for step in view.steps], dtype=float)
    steps = np.array([float(step.step) for step in view.steps])
    lines = []
    for color, (name, values) in enumerate(
        (
            ("widest layer", widths.max(axis=1)),
            ("mean of layers", widths.mean(axis=1)),
            ("narrowest layer", widths.min(axis=1)),
        )
    ):
        lines.append(Line(name=name, color=color, x=steps, y=values, raw=values))
    return Panel(
        title="Channels", x_label="step of pruning", y_label="channels", lines=tuple(lines)
    )


def compared_networks(view: PruningView) -> tuple[list[str], list[list[str]]]:
    """The network before pruning, the chosen one and the last one beside each other.

    Returns:
        Headings, one per network, and rows that begin with the name of what they tell.
    """
    networks = _columns(view)
    rows = []
    for name, cell in _rows(view):
        rows.append([name, *map(cell, networks.values())])
    return list(networks), rows


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


def rule_lines(view: PruningView) -> list[str]:
    """How the step is chosen, in lines that fit a narrow terminal."""
    cases = plural(len(view.steps[0].dice_per_case), "validation case")
    compared = "the best one"
    if view.reference == "unpruned":
        compared = "step 0"
    return [
        f"chosen: the last step whose Dice is at most {view.margin:g} below that of {compared},",
        f"by the lower end of the 95 % CI (paired, bootstrap over {cases}).",
        "Other cases than these tell how good it is: they have chosen it.",
    ]
