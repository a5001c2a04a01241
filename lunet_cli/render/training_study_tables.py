"""Studies of trainings as tables."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from lunet_cli.config.metrics import METRICS, Metric
from lunet_cli.results.studies import CaseDifference, OverSeeds
from lunet_cli.results.training_studies import RunListed, StudiedVariant, TrainingStudy
from lunet_cli.results.words import plural, visible

_STATES = {
    "finished": "finished",
    "running": "is being trained",
    "begun": "goes on",
    "new": "to do",
}


def runs_table(runs: Sequence[RunListed], cores: int, jobs: int) -> RenderableType:
    """The trainings of a study and how far they are."""
    table = _columns("training", "network", "state")
    for column in table.columns:
        column.justify = "left"
    for run in runs:
        table.add_row(visible(run.run), run.architecture, _STATES[run.state])
    left = sum(run.state != "finished" for run in runs)
    told = f"{plural(len(runs), 'training')}, {left} of them to do: dry run, nothing was written"
    at_once = max(1, min(jobs, left))
    below = f"{at_once} at once by each process, each on {plural(max(1, cores // jobs), 'core')}"
    return Group(Text(told, "bold"), table, Text(), Text(below))


def training_study_table(study: TrainingStudy) -> RenderableType:
    """Every combination with its costs, and how it differs from the first one."""
    headings, rows = variant_cells(study)
    table = _columns(*headings)
    for row in rows:
        table.add_row(*row)
    parts: list[RenderableType] = [Text(), Text(title_of(study), "bold"), table, Text()]
    headings, rows = difference_cells(study)
    if rows:
        paired = _columns(*headings)
        for row in rows:
            paired.add_row(*row)
        parts += [paired, Text()]
    parts.append(Text("\n".join(notes_of(study)), "dim"))
    return Group(*parts)


def title_of(study: TrainingStudy) -> str:
    """What was compared, in a line."""
    number = plural(len(study.trials), "training")
    if any(trial.num_folds > 1 for trial in study.trials):
        number = plural(len(study.trials), "cross-validation")
    networks = plural(len(study.variants), "combination")
    return f"{networks}, {number}, {plural(study.num_cases, 'case')}"


def variant_cells(study: TrainingStudy) -> tuple[list[str], list[list[str]]]:
    """Headings, and the cells of each combination."""
    metric = METRICS[study.metric]  # type: ignore[index]  # one of its keys
    keys = study.keys if study.is_search else ()  # Otherwise, names tell the values.
    headings = ["", *(key.rpartition(".")[2] for key in keys)]
    headings += ["parameters", "front", "GFLOP\nat 64^3", "front"]
    if study.latency:
        headings.append("latency\nms")
    headings += [metric.title, "of seeds"]
    rows = []
    for row in study.variants:
        values = [_short(row.values[key]) for key in keys]
        rows.append([visible(row.variant), *values, *_costs(row, study), *_reached(row, metric)])
    return headings, rows


def _costs(row: StudiedVariant, study: TrainingStudy) -> list[str]:
    cells = [f"{row.parameters:,}", "*" * row.on_parameter_front]
    cells += [f"{row.flops / 1e9:.3f}", "*" * row.on_flop_front]
    if study.latency:
        cells.append("-" if row.latency_ms is None else f"{row.latency_ms:,.1f}")
    return cells


def _reached(row: StudiedVariant, metric: Metric) -> list[str]:
    return [number_text(row.value.mean, metric), _spread(row.value, metric)]


def difference_cells(study: TrainingStudy) -> tuple[list[str], list[list[str]]]:
    """Headings, and the cells of each combination but the first; no row of a search."""
    metric = METRICS[study.metric]  # type: ignore[index]  # one of its keys
    rows = []
    for row in study.variants:
        if row.change is not None and row.p_value is not None:
            rows.append([visible(row.variant), *_change(row.change, row.p_value, metric)])
    first = visible(study.variants[0].variant) if study.variants else ""
    headings = [f"{metric.short} minus that of {first}", "mean", "95 % CI", "p", "cases\nx seeds"]
    return headings, rows


def _change(change: CaseDifference, p_value: float, metric: Metric) -> list[str]:
    low, high = change.interval
    interval = "-"
    if not math.isnan(low):
        interval = f"{low:+.{metric.decimals}f} to {high:+.{metric.decimals}f}"
    told = f"{p_value:.4f}"
    # Below four decimals, the size of a p value tells nothing more.
    if p_value < 1e-4:
        told = "< 0.0001"
    number = f"{change.num_cases} x {change.num_seeds}"
    return [f"{change.mean:+.{metric.decimals}f}", interval, told, number]


def notes_of(study: TrainingStudy) -> list[str]:
    """What a reader of the tables should know."""
    notes = [
        "Means over validation cases, then over seeds; of seeds: the lowest and the highest.",
        "front *: none is as good with as few parameters, or as few FLOPs (Pareto).",
    ]
    if difference_cells(study)[1]:
        notes.append(
            "Differences are over cases, each with its mean over seeds. CI: percentile bootstrap "
            "over cases. p: Wilcoxon signed-rank test over cases, two-sided, after Holm."
        )
    if study.is_search:
        notes.append(
            "The search has chosen by these cases, so that its best looks better here than on "
            "others: measure it on cases that had no part in it."
        )
    if study.num_left_out:
        notes.append(f"{plural(study.num_left_out, 'case')} left out: without a value in one.")
    if study.latency:
        where = study.latency.removeprefix("median latency in ms, ")
        notes.append(visible(f"latency: median, {where}; {study.machine}."))
    if study.hopeless:
        notes.append(f"given up on the way: {visible(', '.join(study.hopeless))}")
    if study.unfinished:
        notes.append(f"{plural(len(study.unfinished), 'training')} not finished yet.")
    return notes


def number_text(value: float, metric: Metric) -> str:
    """A value with the decimals of its metric."""
    if math.isnan(value):
        return "-"
    return f"{value:.{metric.decimals}f}"


def _short(value: str) -> str:
    """A value as a part of a table: of the decimals that a search has drawn, a few."""
    try:
        number = float(value)
    except ValueError:
        return visible(value)
    if number.is_integer():
        return value
    return f"{number:.4g}"


def _spread(value: OverSeeds, metric: Metric) -> str:
    if value.num_seeds == 1:
        return ""
    return f"{number_text(value.low, metric)}-{number_text(value.high, metric)}"


def _columns(first: str, *others: str) -> Table:
    """A column for each name: words in the first, numbers in the others."""
    table = Table(box=None, pad_edge=False)
    table.add_column(first, overflow="fold")
    for name in others:
        # As `Text`, a heading may have two lines.
        table.add_column(Text(name), justify="right", no_wrap=True)
    return table
