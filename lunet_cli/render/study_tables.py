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
    StudyComparison,
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
    parts: list[RenderableType] = [
        Text(),
        Text(visible(f"{result.architecture}: strategies of pruning {_budget(result)}"), "bold"),
        _networks(result),
        Text(),
    ]
    if result.comparisons:
        parts += [_comparisons(result.comparisons), Text()]
    parts.append(Text("\n".join(_notes(result)), "dim"))
    return Group(*parts)


def _budget(result: StudyResult) -> str:
    words = f"with at most {result.budget:.3g} of the parameters"
    for network in result.trained:
        if network.kind == "start":
            words += f" ({result.budget * network.parameters:,.0f})"
    return words


def _networks(result: StudyResult) -> Table:
    table = _columns(
        "network",
        "seeds",
        "parameters",
        "GFLOP\nat 64^3",
        "Dice",
        "of seeds",
        "minus\nunpruned",
        "95 % CI",
        "widest /\nnarrowest",
    )
    for network in result.trained:
        if network.kind == "start":
            _add_trained(table, network, _ratio_before(result))
    for strategy in result.strategies:
        _add_strategy(table, strategy)
    for network in result.trained:
        if network.kind != "start":
            _add_trained(table, network, "")
    return table


def _ratio_before(result: StudyResult) -> str:
    for strategy in result.strategies:
        return f"{strategy.ratio_before:.1f}"
    return ""


def _add_trained(table: Table, network: TrainedNetwork, ratio: str) -> None:
    dice = network.dice
    table.add_row(
        network_name(network),
        str(dice.num_seeds),
        f"{network.parameters:,}",
        f"{network.flops / 1e9:.3f}",
        f"{dice.mean:.4f}",
        _spread(dice),
        "",
        "",
        ratio,
    )


def _add_strategy(table: Table, strategy: StrategyAtBudget) -> None:
    name = strategy.strategy
    if not strategy.is_reached:
        name += " *"
    mean, interval = _difference(strategy.change)
    table.add_row(
        visible(name),
        str(strategy.dice.num_seeds),
        f"{strategy.parameters.mean:,.0f}",
        f"{strategy.flops / 1e9:.3f}",
        f"{strategy.dice.mean:.4f}",
        _spread(strategy.dice),
        mean,
        interval,
        f"{strategy.ratio.mean:.1f}",
    )


def _comparisons(comparisons: Sequence[StudyComparison]) -> Table:
    table = _columns("Dice of", "minus that of", "difference", "95 % CI", "p", "cases", "seeds")
    table.columns[1].justify = "left"
    for row in comparisons:
        mean, interval = _difference(row.difference)
        table.add_row(
            visible(row.first),
            visible(row.second),
            mean,
            interval,
            _p_value(row.p_value),
            str(row.difference.num_cases),
            str(row.difference.num_seeds),
        )
    return table


def _notes(result: StudyResult) -> list[str]:
    notes = [
        "Parameters, FLOPs and Dice are means over seeds, of the first step within the budget.",
        "of seeds: the lowest and the highest. CI: percentile bootstrap over validation cases,",
        "each with its mean over seeds. p: Wilcoxon signed-rank test over cases, two-sided, after",
        "Holm. Both are about these trained networks; seeds are too few to speak of others.",
    ]
    if not all(strategy.is_reached for strategy in result.strategies):
        notes.append("*: does not come down to the budget; what is told is its last step.")
    return notes


def _difference(change: CaseDifference | None) -> tuple[str, str]:
    """The mean of a difference, and its interval."""
    if change is None:
        return "", ""
    low, high = change.interval
    interval = "-"
    if not math.isnan(low):
        interval = f"{low:+.4f} to {high:+.4f}"
    return f"{change.mean:+.4f}", interval


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
        table.add_column(Text(name), justify="right", overflow="fold")
    return table
