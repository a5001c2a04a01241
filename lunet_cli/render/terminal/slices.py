"""Slices of cases: the image, the reference, the prediction and the error."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.style import Style
from rich.table import Table
from rich.text import Text

from lunet_cli.render.palette import ERRORS, LABEL_OPACITY, RGB, label_colors, to_hex
from lunet_cli.render.terminal.screen import (
    Overlay,
    Screen,
    columns_within,
    flow,
    mark_of,
    picture,
    size_of,
)
from lunet_cli.results.views import Slice

_GAP = 2
_LEAST_PANEL = 28  # columns; with less, panels are stacked
_MONTAGE_PANEL = 24
_ERROR_OPACITY = 0.7


def draw_slice(
    cut: Slice,
    screen: Screen,
    *,
    opacity: float = LABEL_OPACITY,
    rows: int | None = None,
    only: str | None = None,
) -> RenderableType:
    """One slice: its panels in a row, or in two where the screen is narrow.

    Args:
        cut: The slice.
        screen: What it is drawn on.
        opacity: Of the labels.
        rows: Rows of characters for all of it; None gives each panel those of the screen.
        only: The panel that is shown alone; None shows all.
    """
    names = cut.panels if only is None else (only,)
    per_row, columns = _arrange(cut, len(names), screen, rows)
    size = size_of(cut.extent_mm, columns)
    grid = Table.grid(padding=(0, _GAP))
    for first in range(0, len(names), per_row):
        row = names[first : first + per_row]
        grid.add_row(*(Text(name, "dim") for name in row))
        grid.add_row(
            *(picture(cut.image, overlay_of(cut, name, opacity), screen, size) for name in row)
        )
    return grid


def _arrange(cut: Slice, number: int, screen: Screen, rows: int | None) -> tuple[int, int]:
    """How many panels stand in a row, and how many columns each has: in one row if they are large enough."""
    found = []
    for per_row in (number, -(-number // 2), 1):
        num_rows = -(-number // per_row)
        width = (screen.width - _GAP * (per_row - 1)) // per_row
        most = max(4, screen.height - 5) if rows is None else max(2, rows // num_rows - 1)
        found.append((per_row, columns_within(cut.extent_mm, width, most)))
    largest = max(found, key=lambda item: item[1])
    enough = largest[1] if rows is not None else min(largest[1], _LEAST_PANEL)
    return next(item for item in found if item[1] >= enough)


def draw_montage(slices: Sequence[Slice], screen: Screen) -> RenderableType:
    """Many slices: the labels over the image, and the errors over the labels where there is a reference."""
    tiles = []
    for cut in slices:
        columns = columns_within(
            cut.extent_mm, max(_MONTAGE_PANEL, (screen.width - 6 * _GAP) // 6), screen.height - 3
        )
        drawn = picture(
            cut.image, overlay_of(cut, "montage"), screen, size_of(cut.extent_mm, columns)
        )
        tiles.append(Group(Text(str(cut.position), "dim"), drawn))
    return Columns(tiles, padding=(0, _GAP), equal=True)


def overlay_of(cut: Slice, panel: str, opacity: float = LABEL_OPACITY) -> Overlay | None:
    """What lies over the image in a panel, or in a montage."""
    colors, marks = (
        label_colors(len(cut.labels)),
        "".join(mark_of(i + 1) for i in range(len(cut.labels))),
    )
    styles = ERRORS.values()
    error_colors, error_marks = (
        tuple(one.color for one in styles),
        "".join(one.mark for one in styles),
    )
    labels = cut.reference if panel == "reference" or cut.prediction is None else cut.prediction
    errors = cut.errors()
    if panel == "image" or labels is None or not cut.labels:
        return None
    if errors is None or panel in ("reference", "prediction"):
        return Overlay(labels, colors, marks, opacity)
    if panel == "error":
        return Overlay(errors, error_colors, error_marks, max(opacity, _ERROR_OPACITY))
    both = np.where(errors > 0, errors.astype(np.uint32) + len(colors), labels)
    return Overlay(both, colors + error_colors, marks + error_marks, opacity)


def legend(
    labels: Sequence[str], screen: Screen, *, with_errors: bool, only: Collection[int] | None = None
) -> Text:
    """What the colours mean, or the characters where there are none; of all labels, or of some indices from 1 on."""
    entries = [
        _entry(name, color, mark_of(index), screen)
        for index, (name, color) in enumerate(
            zip(labels, label_colors(len(labels)), strict=True), start=1
        )
        if only is None or index in only
    ]
    parts = [Text("labels", "bold"), *entries] if entries else []
    if with_errors:
        parts += [
            Text("error", "bold"),
            *(_entry(one.name, one.color, one.mark, screen) for one in ERRORS.values()),
        ]
    return flow(parts, screen.width)


def case_heading(cuts: Sequence[Slice]) -> Text:
    """The case and its slices in words, with its Dice and its sides."""
    first, last = cuts[0], cuts[-1]
    text = Text(first.caption, "bold")
    if len(cuts) > 1:
        text = Text(
            f"{first.name}, {first.axis_name} slices {first.position} to {last.position}", "bold"
        )
    if first.sides is not None:
        text.append(f"; {first.sides[0]} left, {first.sides[2]} top", "not bold")
    return text.append(f"; Dice {first.dice_words}", "not bold") if first.dice_words else text


def _entry(name: str, color: RGB, mark: str, screen: Screen) -> Text:
    return Text(
        f"{'■' if screen.colors else mark} {name}",
        Style(color=to_hex(color)) if screen.colors else "",
    )
