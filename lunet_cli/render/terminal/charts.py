"""Lines and points drawn with plotext."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from rich.console import Console, Group, RenderableType
from rich.style import Style
from rich.table import Column, Table
from rich.text import Text

from lunet_cli.render.curves import Floats, Panel, thin_out
from lunet_cli.render.palette import RGB, label_colors, to_hex
from lunet_cli.render.terminal.screen import Screen, flow
from lunet_cli.results.training import TrainingHistory
from lunet_cli.results.words import plural, visible

_Signal = tuple[Floats, Floats, str, RGB | None]  # x, y, symbol, colour
_SYMBOLS = "ox+*#%@&=$ABCDEFGHIJKLMNPQRSTUVWYZ"
_TWO_COLUMNS = 110
_LEAST_ROWS = 9
_TICK_COLUMNS, _TICK_ROWS = 8, 3  # between two ticks


def draw_panels(
    panels: Sequence[Panel], screen: Screen, *, height: int | None = None
) -> RenderableType:
    """Panels below each other, or two in a row where there is room.

    Args:
        panels: What is drawn.
        screen: Where.
        height: Rows for all of it; None takes what looks well.
    """
    columns = _num_columns(panels, screen)
    rows = (
        min(18, max(10, screen.height - 6))
        if height is None
        else height // max(1, -(-len(panels) // columns))
    )
    width = (screen.width - 2 * (columns - 1)) // columns
    grid = Table.grid(
        *(Column(width=width) for _ in range(columns)),
        padding=(0, 2, 1 if height is None else 0, 0),
    )
    charts = [draw_panel(panel, width, rows, colors=screen.colors) for panel in panels]
    for first in range(0, len(charts), columns):
        grid.add_row(*charts[first : first + columns])
    return grid


def _num_columns(panels: Sequence[Panel], screen: Screen) -> int:
    return 2 if screen.width >= _TWO_COLUMNS and len(panels) > 1 else 1


def draw_followed(
    panels: Sequence[Panel],
    courses: Sequence[TrainingHistory],
    notes: Sequence[str],
    screen: Screen,
) -> RenderableType:
    """Trainings that go on: as many panels as the screen holds, how far they are, and notes."""
    parts = [*([best_lines(courses)] if courses else []), *(Text(visible(note)) for note in notes)]
    most = _num_columns(panels, screen) * max(1, (screen.height - 2 - len(parts)) // _LEAST_ROWS)
    kept = sorted(sorted(range(len(panels)), key=lambda index: panels[index].rank)[:most])
    if courses and len(kept) < len(panels):
        left_out = ", ".join(panel.title for index, panel in enumerate(panels) if index not in kept)
        parts.append(Text(f"no room for: {left_out}", "dim"))
    parts.append(Text("q or Ctrl-C ends", "dim"))
    words = Text("\n").join(parts).wrap(Console(), screen.width)
    below = Text("\n").join(words)
    if not courses:
        return below
    return Group(
        draw_panels([panels[i] for i in kept], screen, height=screen.height - 1 - len(words)), below
    )


def best_lines(courses: Sequence[TrainingHistory]) -> Text:
    """The best epoch of each training in words."""
    return Text("\n".join(f"{course.name}: {_best_words(course)}" for course in courses))


def _best_words(course: TrainingHistory) -> str:
    best, number = course.best, len(course.records)
    if math.isnan(best.val_dice):
        return f"no validation Dice in {plural(number, 'epoch')}"
    per_label = ", ".join(f"{name} {value:.4f}" for name, value in best.val_dice_per_label.items())
    detail = f" ({visible(per_label)})" if len(best.val_dice_per_label) > 1 else ""
    return f"best epoch {best.epoch} of {number}, validation Dice {best.val_dice:.4f}{detail}"


def draw_panel(panel: Panel, width: int, height: int, *, colors: bool) -> RenderableType:
    """One panel with its legend above, in `width` columns and `height` rows."""
    palette = label_colors(max(line.color for line in panel.lines) + 1)
    entries = [Text(panel.title, "bold")]
    drawn: list[_Signal] = []
    diamonds: list[_Signal] = []
    for index, line in enumerate(panel.lines):
        color = palette[line.color] if colors else None
        symbol = (
            ("·" if line.is_faint else "braille") if colors else _SYMBOLS[index % len(_SYMBOLS)]
        )
        in_legend = ("·" if line.is_faint else "■") if colors else symbol
        entries.append(
            Text(f"{in_legend} {line.name}", Style(color=to_hex(color)) if color else "")
        )
        is_smooth = line.y is not line.raw
        for values, mark in (
            *([(line.raw, "·")] if is_smooth and colors else []),
            (line.y, symbol),
        ):
            is_drawn = np.isfinite(values) & ((values > 0) if panel.log else True)
            if is_drawn.any():
                drawn.append((*thin_out(line.x[is_drawn], values[is_drawn], width), mark, color))
        if (
            line.best is not None
            and np.isfinite(line.raw[line.best])
            and (line.raw[line.best] > 0 or not panel.log)
        ):
            diamonds.append((line.x[[line.best]], line.raw[[line.best]], "◆", color))
    if diamonds:
        entries.append(Text("◆ best epoch"))
    head = flow(entries, width)
    figure = _new_figure(width, max(5, height - 1 - head.plain.count("\n")))
    every = [*drawn, *diamonds]
    if every:
        _set_ruler(
            figure,
            "x",
            np.concatenate([x for x, *_ in every]),
            width // _TICK_COLUMNS,
            panel.x_label,
        )
        _set_ruler(
            figure,
            "y",
            np.concatenate([y for _, y, *_ in every]),
            height // _TICK_ROWS,
            log=panel.log,
        )
    for x, y, symbol, color in every:
        _add(figure, x, np.log10(y) if panel.log else y, symbol, color, lines=len(x) > 1)
    return Group(head, _built(figure))


def draw_points(
    points: Sequence[tuple[float, float, str, bool]], labels: tuple[str, str], screen: Screen
) -> RenderableType:
    """Points (x, y, mark, is highlighted) over a logarithmic x axis."""
    width, height = min(screen.width, 100), min(22, max(10, screen.height - 8))
    figure = _new_figure(width, height)
    usual, special = label_colors(2)
    _set_ruler(
        figure,
        "x",
        np.array([x for x, _, _, _ in points]),
        width // _TICK_COLUMNS,
        labels[0],
        log=True,
    )
    _set_ruler(figure, "y", np.array([y for _, y, _, _ in points]), height // _TICK_ROWS)
    for x, y, mark, is_special in points:
        color = (special if is_special else usual) if screen.colors else None
        _add(figure, np.log10([x]), np.array([y]), mark, color, lines=False)
    return Group(Text(labels[1]), _built(figure))


def round_ticks(low: float, high: float, number: int, *, least_step: float = 0.0) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten between two bounds: about `number`, never more than one beyond."""
    rough = max((high - low) / max(1, number), least_step)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    return [
        index * step
        for index in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
    ]


def log_ticks(low: float, high: float, number: int) -> list[float]:
    """Round values between two positive bounds, at most about `number`: powers of ten, and what lies between if few."""
    powers = [
        10.0**power for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ]
    found: list[float] = []
    for factors in ((1,), (1, 3), (1, 2, 5), range(1, 10)):
        finer = [
            factor * power
            for power in powers
            for factor in factors
            if low <= factor * power <= high
        ]
        if found and len(finer) > number:
            break
        found = finer
    return found if len(found) > 1 else [low, high]


def tick_labels(ticks: Sequence[float], *, log: bool = False) -> list[str]:
    """Short numbers that differ as the ticks do: `0.05`, `48`, `350k`, `1.9M`."""
    step = min((abs(second - first) for first, second in pairwise(ticks)), default=0.0)
    return [_short(tick, 0.0 if log else step) for tick in ticks]


def _short(value: float, step: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= 10 * size or (abs(value) >= size and size > 1e3):
            return _short(value / size, step / size) + letter
    return f"{value:.{max(0, -math.floor(math.log10(step) + 1e-9))}f}" if step else f"{value:.4g}"


def _new_figure(width: int, height: int) -> Any:
    import plotext

    figure: Any = plotext.figure
    figure.clear()
    figure.theme("colorless")
    figure.plot_size(width, height)
    return figure


def _set_ruler(
    figure: Any,
    axis: str,
    values: Floats,
    number: int,
    label: str | None = None,
    *,
    log: bool = False,
) -> None:
    """Let an axis hold `values`, with about `number` round ticks; a logarithmic one is ruled for their logarithms."""
    low, high = float(values.min()), float(values.max())
    if low == high:
        margin = abs(low) / 2 or 0.5
        low, high = low - margin, high + margin
    least_step = float((values == values.round()).all())  # Epochs are counted.
    ticks = (
        log_ticks(low, high, number)
        if log
        else round_ticks(low, high, number, least_step=least_step)
    )
    place = math.log10 if log else float
    ruler = figure.ruler(axis)
    ruler.lim(place(low), place(high))
    ruler.ticks([place(tick) for tick in ticks], tick_labels(ticks, log=log))
    if label is not None:
        figure.label(label, axis)


def _add(figure: Any, x: Floats, y: Floats, symbol: str, color: Any, *, lines: bool) -> None:
    import plotext

    signal = figure.signal(x.tolist(), y.tolist(), marker=plotext.marker(symbol, color))
    figure.draw(signal.lines() if lines else signal)


def _built(figure: Any) -> Text:
    return Text.from_ansi(figure.build().string().rstrip(), no_wrap=True)
