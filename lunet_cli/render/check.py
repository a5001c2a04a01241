"""What a check of a data set found, as a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from lunet_cli.records.check import DataCheck, DataMending
from lunet_cli.results.check import Problem
from lunet_cli.results.words import plural, visible


def check_table(found: DataCheck, reword: Callable[[str], str] = str) -> RenderableType:
    """A row per problem, and how many there are.

    Args:
        found: What was found.
        reword: Applied to texts and hints.
    """
    cases = f"{plural(found.num_cases, 'case')} in the layout {found.layout}"
    if not found.problems:
        return Text(f"{cases}: no problem found", "bold")
    total = Text(f"\n{cases}: {_counts(found.problems)}", "bold")
    return Group(_rows(found.problems, found.place, reword), total)


def mending_table(found: DataMending, reword: Callable[[str], str] = str) -> RenderableType:
    """A row per change, then one per problem that is left."""
    place = visible(found.place)
    changes = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    changes.add_column("mended file", overflow="fold")
    changes.add_column("change", overflow="fold")
    for change in found.changes:
        changes.add_row(Text(visible(change.file)), Text(visible(change.text), "green"))
    parts: list[RenderableType] = [changes] if found.changes else []
    if found.problems:
        parts += [Text(), _rows(found.problems, found.place, reword)]
    num_files = plural(len({change.file for change in found.changes}), "file")
    left = "nothing is left" if not found.problems else f"left: {_counts(found.problems)}"
    parts.append(Text(f"\n{place}: {num_files} mended (mended.json has all); {left}", "bold"))
    return Group(*parts)


def _rows(problems: Sequence[Problem], place: str, reword: Callable[[str], str]) -> RenderableType:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("case", overflow="fold")
    table.add_column("about", no_wrap=True)
    table.add_column("problem", overflow="fold", ratio=3)
    table.add_column("how to mend it", style="dim", overflow="fold", ratio=2)
    for problem in problems:
        text = reword(problem.text).replace(f"{place}/", "")
        style = "red" if problem.is_error else "yellow"
        table.add_row(
            Text(visible(problem.case or "-")),
            problem.kind,
            Text(visible(text), style),
            Text(visible(reword(problem.hint))),
        )
    return table


def _counts(problems: Sequence[Problem]) -> str:
    num_errors = sum(problem.is_error for problem in problems)
    errors = f"{plural(num_errors, 'error')}, which a training refuses"
    warnings = plural(len(problems) - num_errors, "warning")
    if not num_errors:
        return warnings
    return errors if num_errors == len(problems) else f"{errors}, and {warnings}"
