"""Studies of prunings as tables."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from lunet_cli.render.studies import network_name
from lunet_cli.results.studies import (
    CaseDifference,
    OverSeeds,
    StrategyAtBudget,
    StudyResult,
    TrainedNetwork,
    TrialListed,
)
from lunet_cli.results.words import plural, visible

_STATES = {"finished": "finished", "begun": "goes on", "new": "to do"}


def trials_table(trials: Sequence[TrialListed], cores: int, jobs: int) -> RenderableType:
    """The trials of a study and how far they are."""
    table = _columns("trial", "what", "network")
    for column in table.columns:
        column.justify = "left"
    table.add_column("state")
    for trial in trials:
        table.add_row(trial.trial, trial.kind, trial.architecture, _STATES[trial.state])
    left = sum(trial.state != "finished" for trial in trials)
    at_once = max(1, min(jobs, left))
    told = f"{plural(len(trials), 'trial')}, {left} of them to do: dry run, nothing was written"
    below = f"{at_once} at once, each on {plural(max(1, cores // at_once), 'core')}"
    return Group(Text(told, "bold"), table, Text(), Text(below))


def study_table(result: StudyResult) -> RenderableType:
    """Every strategy at the budget beside the networks that were trained, and paired tests."""
    title = f"{result.architecture}: strategies of pruning {_budget(result)}"
    parts: list[RenderableType] = [
        Text(),
        Text(visible(title), "bold"),
        _networks(result),
        Text(),
    ]
    differences = _differences(result)
    if differences.row_count:
        parts += [differences, Text()]
    parts.append(Text("\n".join(_notes(result)), "dim"))
    return Group(*parts)


def _budget(result: StudyResult) -> str:
    words = f"at {result.budget:.3g} of the parameters"
    for network in result.trained:
        if network.kind == "start":
            words += f" ({result.budget * network.parameters:,.0f})"
    return words


def _networks(result: StudyResult) -> Table:
    table = _columns(
        "network", "parameters", "GFLOP\nat 64^3", "Dice", "of seeds", "widest /\nnarrowest"
    )
    for network in result.trained:
        if network.kind == "start":
            _add_trained(table, network, _ratio_before(result))
    for strategy in result.strategies:
        table.add_row(
            _name(strategy),
            f"{strategy.parameters.mean:,.0f}",
            f"{strategy.flops / 1e9:.3f}",
            f"{strategy.dice.mean:.4f}",
            _spread(strategy.dice),
            f"{strategy.ratio.mean:.1f}",
        )
    for network in result.trained:
        if network.kind != "start":
            _add_trained(table, network, "")
    return table


def _ratio_before(result: StudyResult) -> str:
    for strategy in result.strategies:
        return f"{strategy.ratio_before:.1f}"
    return ""


def _add_trained(table: Table, network: TrainedNetwork, ratio: str) -> None:
    table.add_row(
        network_name(network),
        f"{network.parameters:,}",
        f"{network.flops / 1e9:.3f}",
        f"{network.dice.mean:.4f}",
        _spread(network.dice),
        ratio,
    )


def _name(strategy: StrategyAtBudget) -> str:
    if strategy.is_reached:
        return visible(strategy.strategy)
    return visible(f"{strategy.strategy} *")


def _differences(result: StudyResult) -> Table:
    """From the network before pruning, then between strategies, then to those from scratch."""
    tested = ["p"] if result.comparisons else []
    table = _columns("Dice of", "minus that of", "mean", "95 % CI", "cases\nx seeds", *tested)
    other = table.columns[1]
    other.justify, other.no_wrap, other.overflow = "left", False, "fold"
    for strategy in result.strategies:
        if strategy.change is not None:
            table.add_row(_name(strategy), "unpruned", *_difference(strategy.change))
    for row in result.comparisons:
        names = (visible(row.first), visible(row.second))
        table.add_row(*names, *_difference(row.difference), _p_value(row.p_value))
    return table


def _difference(change: CaseDifference) -> tuple[str, str, str]:
    """Mean, interval, and over how much they are."""
    low, high = change.interval
    interval = "-"
    if not math.isnan(low):
        interval = f"{low:+.4f} to {high:+.4f}"
    return f"{change.mean:+.4f}", interval, f"{change.num_cases} x {change.num_seeds}"


def _notes(result: StudyResult) -> list[str]:
    notes = [
        "Parameters, FLOPs and Dice are means over seeds of the first step within",
        "the budget; of seeds: the lowest and the highest. Differences are over",
        "validation cases, each with its mean over seeds. CI: percentile bootstrap",
        "over cases; so few seeds do not speak of other networks than these.",
    ]
    if result.comparisons:
        notes.append("p, of those at the budget: Wilcoxon signed-rank test, two-sided, after Holm.")
    if not all(strategy.is_reached for strategy in result.strategies):
        notes.append("*: does not come down to the budget; this is its last step.")
    return notes


def _spread(dice: OverSeeds) -> str:
    if dice.num_seeds == 1:
        return ""
    return f"{dice.low:.4f}-{dice.high:.4f}"


def _p_value(value: float) -> str:
    # Below four decimals, the size of a p value tells nothing more.
    if value < 1e-4:
        return "< 0.0001"
    return f"{value:.4f}"


def _columns(first: str, *others: str) -> Table:
    """A column for each name: words in the first, numbers in the others."""
    table = Table(box=None, pad_edge=False)
    table.add_column(first, overflow="fold")
    for name in others:
        # As `Text`, a heading may have two lines.
        table.add_column(Text(name), justify="right", no_wrap=True)
    return table
