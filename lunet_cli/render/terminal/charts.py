"""Lines and points drawn with plotext."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.console import Console, Group, RenderableType
from rich.style import Style
from rich.table import Column, Table
from rich.text import Text

from lunet_cli.render.curves import Panel, thin_out
from lunet_cli.render.palette import label_colors, to_hex
from lunet_cli.render.terminal.screen import Screen
from lunet_cli.results.views import TrainingCourse

_SYMBOLS = "ox+*#%@&=$"
_TWO_COLUMNS = 110


def draw_panels(panels: Sequence[Panel], screen: Screen, *, height: int | None = None) -> RenderableType:
    """Panels below each other, or two in a row where there is room.

    Args:
        panels: What is drawn.
        screen: Where.
        height: Rows for all of it; None takes what looks well.
    """
    columns = 2 if screen.width >= _TWO_COLUMNS and len(panels) > 1 else 1
    num_rows = -(-len(panels) // columns)
    rows = min(18, max(10, screen.height - 6)) if height is None else max(7, height // num_rows)
    width = (screen.width - 2 * (columns - 1)) // columns
    grid = Table.grid(*(Column(width=width) for _ in range(columns)), padding=(0, 2, 1 if height is None else 0, 0))
    charts = [draw_panel(panel, width, rows, colors=screen.colors) for panel in panels]
    for first in range(0, len(charts), columns):
        grid.add_row(*charts[first : first + columns])
    return grid


def best_lines(courses: Sequence[TrainingCourse]) -> RenderableType:
    """The best epoch of each training in words."""
    lines = []
    for course in courses:
        best = course.best
        per_label = ", ".join(f"{name} {value:.4f}" for name, value in best.val_dice_per_label.items())
        detail = f" ({per_label})" if len(best.val_dice_per_label) > 1 else ""
        where = f"best epoch {best.epoch} of {len(course.records)}"
        lines.append(f"{course.name}: {where}, validation Dice {best.val_dice:.4f}{detail}")
    return Text("\n".join(lines))


def draw_panel(panel: Panel, width: int, height: int, *, colors: bool) -> RenderableType:
    """One panel with its legend above, in `width` columns and `height` rows."""
    import plotext

    palette = label_colors(max(line.color for line in panel.lines) + 1)
    figure: Any = plotext.figure
    figure.clear()
    figure.theme("colorless")
    head = Text(panel.title, "bold")
    for index, line in enumerate(panel.lines):
        is_finite = np.isfinite(line.y) & ((line.y > 0) if panel.log else True)
        x, y = thin_out(line.x[is_finite], line.y[is_finite], width)
        color = palette[line.color]
        symbol = ("·" if line.is_faint else "braille") if colors else _SYMBOLS[index % len(_SYMBOLS)]
        pixel = color if colors else None
        entry = f"  {'■' if colors else symbol} {line.name}"
        head.append(entry, Style(color=to_hex(color) if colors else None, bold=False))
        if len(x):
            figure.draw(figure.signal(x.tolist(), y.tolist(), marker=plotext.marker(symbol, pixel)).lines())
        if line.best is not None and is_finite[line.best]:
            best = [float(line.x[line.best])], [float(line.y[line.best])]
            figure.draw(figure.signal(*best, marker=plotext.marker("◆", pixel)))
    if any(line.best is not None for line in panel.lines):
        head.append("  ◆ best epoch", Style(bold=False))
    head = Text("\n").join(head.wrap(Console(), width))
    figure.plot_size(width, max(5, height - 1 - head.plain.count("\n")))
    if panel.log:
        figure.ruler("y").scale("log")
    figure.label(panel.x_label, "x")
    return Group(head, Text.from_ansi(figure.build().string().rstrip(), no_wrap=True))


def draw_points(
    points: Sequence[tuple[float, float, str, bool]], labels: tuple[str, str], screen: Screen
) -> RenderableType:
    """Points (x, y, mark, is highlighted) over a logarithmic x axis."""
    import plotext

    figure: Any = plotext.figure
    figure.clear()
    figure.theme("colorless")
    figure.plot_size(min(screen.width, 100), min(22, max(10, screen.height - 8)))
    usual, special = label_colors(2)
    for x, y, mark, is_special in points:
        pixel = (special if is_special else usual) if screen.colors else None
        figure.draw(figure.signal([x], [y], marker=plotext.marker(mark, pixel)))
    figure.ruler("x").scale("log")
    figure.label(labels[0], "x")
    return Group(Text(labels[1]), Text.from_ansi(figure.build().string().rstrip(), no_wrap=True))
