"""The folds of a cross-validation, as a table."""

from __future__ import annotations

import statistics

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from lunet_cli.results.folds import FoldsResult
from lunet_cli.results.words import plural, visible


def folds_table(result: FoldsResult) -> RenderableType:
    """A row per finished fold, and mean and spread over them."""
    table = Table(box=None, pad_edge=False)
    for name in ("fold", "cases", "best epoch", "of", "validation Dice"):
        table.add_column(name, justify="right")
    values: list[float] = []
    for fold in result.folds:
        best, dice = "-", "-"
        if fold.best is not None:
            best, dice = str(fold.best.epoch), f"{fold.best.val_dice:.4f}"
            values.append(fold.best.val_dice)
        cases = str(fold.num_cases) if fold.num_cases else "-"
        table.add_row(str(fold.number), cases, best, str(fold.num_epochs), dice)
    title = (
        f"\n{len(result.folds)} of {plural(result.num_folds, 'fold')} in {visible(result.run_dir)}"
    )
    parts: list[RenderableType] = [Text(title, "bold"), table]
    if len(values) > 1:
        spread = statistics.stdev(values)
        text = f"mean of {plural(len(values), 'fold')} {statistics.fmean(values):.4f}, standard "
        parts.append(Text(f"{text}deviation {spread:.4f}"))
    return Group(*parts)
