"""Slices of cases: the image, the reference, the prediction and the error."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from lunet_cli.render.palette import ERROR_COLORS, ERRORS, LABEL_OPACITY, RGB, label_colors
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
# Columns: with less, a structure of a few voxels is not seen, and panels are stacked instead.
_LEAST_PANEL = 28
_MONTAGE_PANEL = 24
# At least: errors are small, and the image behind them matters less than where they are.
_ERROR_OPACITY = 0.7
_ERROR_MARKS = "".join(style.mark for style in ERRORS.values())


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
    names = cut.panels
    if only is not None:
        names = (only,)
    per_row, columns = _arrange(cut, len(names), screen, rows)
    size = size_of(cut.extent_mm, columns)
    grid = Table.grid(padding=(0, _GAP))
    for first in range(0, len(names), per_row):
        titles, pictures = [], []
        for name in names[first : first + per_row]:
            titles.append(Text(name, "dim"))
            pictures.append(picture(cut.image, overlay_of(cut, name, opacity), screen, size))
        grid.add_row(*titles)
        grid.add_row(*pictures)
    return grid


def _arrange(cut: Slice, number: int, screen: Screen, rows: int | None) -> tuple[int, int]:
    """How many panels stand in a row, and how many columns each of them has.

    They stand in one row if they are large enough there: as large as possible where rows are
    given, and large enough to be seen where lines scroll.
    """
    found = []
    for per_row in (number, -(-number // 2), 1):
        width = (screen.width - _GAP * (per_row - 1)) // per_row
        most = max(4, screen.height - 5)
        if rows is not None:
            num_rows = -(-number // per_row)
            most = max(2, rows // num_rows - 1)
        found.append((per_row, columns_within(cut.extent_mm, width, most)))
    enough = max(columns for _, columns in found)
    if rows is None:
        enough = min(enough, _LEAST_PANEL)
    return next(item for item in found if item[1] >= enough)


def draw_montage(slices: Sequence[Slice], screen: Screen) -> RenderableType:
    """Many slices: the labels over the image, and the errors over them with a reference."""
    width = max(_MONTAGE_PANEL, (screen.width - 6 * _GAP) // 6)
    tiles = []
    for cut in slices:
        size = size_of(cut.extent_mm, columns_within(cut.extent_mm, width, screen.height - 3))
        drawn = picture(cut.image, overlay_of(cut, "montage"), screen, size)
        tiles.append(Group(Text(str(cut.position), "dim"), drawn))
    return Columns(tiles, padding=(0, _GAP), equal=True)


def overlay_of(cut: Slice, panel: str, opacity: float = LABEL_OPACITY) -> Overlay | None:
    """What lies over the image in a panel, or in a montage."""
    labels, errors = cut.prediction, cut.errors()
    if panel == "reference" or labels is None:
        labels = cut.reference
    if panel == "image" or labels is None or not cut.labels:
        return None
    number = len(cut.labels)
    colors, marks = label_colors(number), "".join(map(mark_of, range(1, number + 1)))
    if errors is None or panel in ("reference", "prediction"):
        return Overlay(labels, colors, marks, opacity)
    if panel == "error":
        return Overlay(errors, ERROR_COLORS, _ERROR_MARKS, max(opacity, _ERROR_OPACITY))
    # Errors get the indices behind those of the labels: where pixels share a cell, they win.
    both = np.where(errors > 0, errors.astype(np.uint32) + number, labels)
    return Overlay(both, colors + ERROR_COLORS, marks + _ERROR_MARKS, opacity)


def legend(
    labels: Sequence[str], screen: Screen, *, with_errors: bool, only: Collection[int] | None = None
) -> Text:
    """What the colours mean, or the characters where there are none.

    Args:
        labels: Names of all labels.
        screen: What it is drawn on.
        with_errors: Whether errors are drawn too.
        only: Indices of the labels that are told, from 1 on; None tells all.
    """
    entries: list[Text] = []
    colors = label_colors(len(labels))
    for index, (name, color) in enumerate(zip(labels, colors, strict=True), start=1):
        if only is None or index in only:
            entries.append(entry(name, color, mark_of(index), screen))
    if entries:
        entries.insert(0, Text("labels", "bold"))
    if with_errors:
        entries.append(Text("error", "bold"))
        entries += [entry(one.name, one.color, one.mark, screen) for one in ERRORS.values()]
    return flow(entries, screen.width)


def entry(name: str, color: RGB, mark: str, screen: Screen) -> Text:
    """A colour and its name, or a character and its name where there are no colours."""
    if screen.colors:
        mark = "■"
    return Text(f"{mark} {name}", screen.style_of(color))


def case_heading(cuts: Sequence[Slice]) -> Text:
    """The case and its slices in words, with its Dice and its sides."""
    first, last = cuts[0], cuts[-1]
    text = Text(first.caption, "bold")
    if len(cuts) > 1:
        positions = f"{first.position} to {last.position}"
        text = Text(f"{first.name}, {first.axis_name} slices {positions}", "bold")
    if first.sides is not None:
        text.append(f"; {first.sides[0]} left, {first.sides[2]} top", "not bold")
    if first.dice_words:
        text.append(f"; Dice {first.dice_words}", "not bold")
    return text
