"""Slices of cases: the image, the reference, the prediction and the error."""

from __future__ import annotations

from collections.abc import Sequence

from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.style import Style
from rich.table import Table
from rich.text import Text

from lunet_cli.render.palette import CONFUSED_COLOR, INVENTED_COLOR, MISSED_COLOR, label_colors, to_hex
from lunet_cli.render.terminal.screen import Overlay, Screen, columns_within, mark_of, picture, shrink
from lunet_cli.results.views import LabeledVolume, Slice

_ERRORS = (("missed", MISSED_COLOR, "M"), ("invented", INVENTED_COLOR, "I"), ("other label", CONFUSED_COLOR, "X"))
_GAP = 2
_LEAST_PANEL = 28  # columns; with less, panels are stacked
_MONTAGE_PANEL = 24


def draw_slice(cut: Slice, screen: Screen, *, opacity: float = 0.45, rows: int | None = None) -> RenderableType:
    """One slice: its panels in a row, or in two where the screen is narrow.

    Args:
        cut: The slice.
        screen: What it is drawn on.
        opacity: Of the labels.
        rows: Rows of characters for each panel; None takes those of the screen.
    """
    number = len(slice_panels(cut))
    per_row, columns = _arrange(cut, number, screen, rows)
    small = shrink(cut, columns, screen)
    panels = slice_panels(small, opacity)
    grid = Table.grid(padding=(0, _GAP))
    for first in range(0, number, per_row):
        row = panels[first : first + per_row]
        grid.add_row(*(Text(title, "dim") for title, _ in row))
        grid.add_row(*(picture(small.image, overlay, screen) for _, overlay in row))
    return grid


def _arrange(cut: Slice, number: int, screen: Screen, rows: int | None) -> tuple[int, int]:
    """How many panels stand in a row, and how many columns each has: as large as possible, but one row if it can be."""
    found = []
    for per_row in (number, -(-number // 2), 1):
        num_rows = -(-number // per_row)
        width = (screen.width - _GAP * (per_row - 1)) // per_row
        if rows is None and width >= _LEAST_PANEL:
            return per_row, columns_within(cut.extent_mm, width, max(4, screen.height - 5))
        most = max(4, screen.height - 5) if rows is None else max(2, rows // num_rows - 1)
        found.append((per_row, columns_within(cut.extent_mm, width, most)))
    return max(found, key=lambda item: item[1])


def draw_montage(slices: Sequence[Slice], screen: Screen) -> RenderableType:
    """Many slices, each with its prediction, or else its reference, over the image."""
    panels = []
    for cut in slices:
        columns = columns_within(cut.extent_mm, max(_MONTAGE_PANEL, (screen.width - 6 * _GAP) // 6), screen.height - 3)
        small = shrink(cut, columns, screen)
        _, overlay = slice_panels(small)[-2 if cut.errors() is not None else -1]
        panels.append(Group(Text(str(cut.position), "dim"), picture(small.image, overlay, screen)))
    return Columns(panels, padding=(0, _GAP), equal=True)


def slice_panels(cut: Slice, opacity: float = 0.45) -> list[tuple[str, Overlay | None]]:
    """Titles and what lies over the image."""
    colors = label_colors(len(cut.labels))
    panels: list[tuple[str, Overlay | None]] = [("image", None)]
    if cut.reference is not None:
        panels.append(("reference", Overlay(cut.reference, colors, opacity=opacity)))
    if cut.prediction is not None:
        panels.append(("prediction", Overlay(cut.prediction, colors, opacity=opacity)))
    errors = cut.errors()
    if errors is not None:
        marks = "".join(mark for _, _, mark in _ERRORS)
        panels.append(("error", Overlay(errors, tuple(color for _, color, _ in _ERRORS), marks, max(opacity, 0.7))))
    return panels


def legend(labels: Sequence[str], screen: Screen, *, with_errors: bool) -> Text:
    """What the colours mean, or the characters where there are none."""
    text = Text("labels", "bold")
    entries = [(name, color, mark_of(i)) for i, (name, color) in enumerate(_colored(labels), start=1)]
    for name, color, mark in entries:
        _add_entry(text, name, color, mark, screen)
    if with_errors:
        text.append("   error", Style(bold=True))
        for name, color, mark in _ERRORS:
            _add_entry(text, name, color, mark, screen)
    return text if entries or with_errors else Text()


def case_heading(volume: LabeledVolume, cut: Slice) -> Text:
    """The case in words, with its Dice."""
    text = Text(cut.caption, "bold")
    if volume.dice:
        text.append("; Dice " + ", ".join(f"{name} {value:.4f}" for name, value in volume.dice.items()), "not bold")
    return text


def _colored(labels: Sequence[str]) -> list[tuple[str, tuple[int, int, int]]]:
    return list(zip(labels, label_colors(len(labels)), strict=True))


def _add_entry(text: Text, name: str, color: tuple[int, int, int], mark: str, screen: Screen) -> None:
    text.append(
        f"  {'■' if screen.colors else mark} {name}",
        Style(color=to_hex(color) if screen.colors else None, bold=False),
    )
