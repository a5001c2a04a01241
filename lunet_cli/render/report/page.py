"""The page about a run: one file with everything in it, which asks no other host for anything."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jinja2

from lunet_cli.config.metrics import METRICS
from lunet_cli.render.prunings import compared_networks, rule_lines
from lunet_cli.render.report.data import page_data
from lunet_cli.results.evaluation import EvalResult
from lunet_cli.results.report import RunReport
from lunet_cli.results.training import TrainingHistory
from lunet_cli.results.views import PruningView
from lunet_cli.results.words import format_seconds, visible

_HERE = Path(__file__).parent
# In this order: each uses what those before it define.
_SCRIPTS = ("common.js", "charts.js", "table.js", "pictures.js", "solid.js", "page.js")


def render_page(
    report: RunReport,
    *,
    commands: Sequence[tuple[str, str]] = (),
    reword: Callable[[str], str] = str,
) -> str:
    """The page as HTML.

    Args:
        report: What is told.
        commands: Purpose and command line of each step that repeats it.
        reword: Applied to what is said of fields.
    """
    environment = environment_of(reword)
    details: Sequence[tuple[str, str]] = ()
    if report.origin is not None:
        details = report.origin.details
    page: str = environment.get_template("page.html.j2").render(
        report=report,
        data=_in_words(page_data(report)),
        facts=_facts(report),
        commands=commands,
        provenance=details,
        summary=_summary(report.evaluation),
        pruning=_pruning(report.pruning),
        style=read_part("page.css"),
        script="\n".join(map(read_part, _SCRIPTS)),
    )
    return page


def environment_of(reword: Callable[[str], str]) -> jinja2.Environment:
    """What templates are filled in by: names come from strangers, and are made harmless.

    Args:
        reword: Applied to what is said of fields.
    """
    # What is not marked as safe is escaped.
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["reworded"] = reword
    return environment


def read_part(name: str) -> str:
    """A style or script that is a part of a page."""
    return (_HERE / name).read_text(encoding="utf-8")


def _shown(value: object) -> object:
    """What the template writes: our own markup as it is, all else in one harmless line."""
    if hasattr(value, "__html__"):
        return value
    return visible(value)


def _in_words(value: Any) -> Any:
    """The same of all texts in the data of the scripts, each in one line."""
    if isinstance(value, dict):
        return {key: _in_words(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [*map(_in_words, value)]
    if isinstance(value, str):
        return visible(value)
    return value


def _facts(report: RunReport) -> list[tuple[str, str]]:
    """What matters most, in words."""
    origin, history = report.origin, report.history
    rows = []
    if origin is not None:
        rows += [
            ("network", origin.architecture),
            ("parameters", f"{origin.num_parameters:,}"),
            ("data", origin.data_root or "built-in phantom"),
            ("cases", f"{origin.num_train} training, {origin.num_val} validation"),
        ]
    if not history.is_finished:
        rows.append(("outcome", "not finished"))
    elif report.outcome:
        rows.append(("outcome", report.outcome))
    rows += _best_model(history)
    seconds = sum(record.epoch_seconds for record in history.records)
    rows.append(("training time", format_seconds(seconds)))
    return rows


def _best_model(history: TrainingHistory) -> list[tuple[str, str]]:
    """What the best model is from, and how good it is."""
    chosen, best = history.chosen, history.of_best_model or history.best
    if chosen is None:
        number, total, dice = best.epoch, len(history.records), best.val_dice
    else:
        number, total, dice = chosen.step, chosen.num_steps, chosen.val_dice
    rows = [(history.mark, f"{number} of {total}"), ("validation Dice", _text(dice, 4))]
    is_known = chosen is None or history.of_best_model is not None
    if is_known and len(best.val_dice_per_label) > 1:
        for name, value in best.val_dice_per_label.items():
            rows.append((f"· {name}", _text(value, 4)))
    return rows


def _summary(evaluation: EvalResult | None) -> list[dict[str, str]]:
    """Means of the evaluation, as the table of an evaluation has them."""
    if evaluation is None:
        return []
    rows = []
    for row in evaluation.summaries:
        metric = METRICS[row.metric]  # type: ignore[index]  # one of its keys
        digits = metric.decimals
        low, high = row.interval
        interval = ""
        if not math.isnan(low):
            interval = f"{_text(low, digits)} to {_text(high, digits)}"
        rows.append(
            {
                "label": row.label,
                "metric": metric.title,
                "mean": _text(row.mean, digits),
                "penalized": _text(row.penalized_mean, digits, undefined=""),
                "sd": _text(row.sd, digits),
                "median": _text(row.median, digits),
                "interval": interval,
                "undefined": str(row.num_undefined),
            }
        )
    return rows


def _pruning(view: PruningView | None) -> dict[str, object]:
    """Networks before and after pruning, as the table of a pruning has them."""
    if view is None:
        return {}
    headings, rows = compared_networks(view)
    return {"headings": headings, "rows": rows, "rule": rule_lines(view)}


def _text(value: float, digits: int, undefined: str = "-") -> str:
    if math.isnan(value):
        return undefined
    return f"{value:.{digits}f}"
