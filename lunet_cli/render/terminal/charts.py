"""Lines and points drawn with plotext."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from rich.console import Console, Group, RenderableType
from rich.style import Style
from rich.table import Table
from rich.text import Text

from lunet_cli.render.curves import Floats, Line, Panel, thin_out
from lunet_cli.render.palette import RGB, label_colors, to_hex
from lunet_cli.render.terminal.screen import Screen, flow
from lunet_cli.results.training import TrainingHistory
from lunet_cli.results.words import plural, visible

_SYMBOLS = "ox+*#%@&=$ABCDEFGHIJKLMNPQRSTUVWYZ"
# Columns of a screen from which on two charts stand side by side, each with 50 of them.
_TWO_COLUMNS = 110
# Rows of a chart in which a curve can still be seen, with its title, axis and ticks.
_LEAST_ROWS = 9
# Between two ticks: the longest label, such as `0.86735`, has a space beside it.
_TICK_COLUMNS, _TICK_ROWS = 8, 3
# Of a step: how far a bound may lie from a tick that it is meant to be, since 0.3 / 0.1 < 3.
_ROUNDING = 1e-9


class _Look(NamedTuple):
    """How a line is drawn: its symbol, the one of its legend, and its colour, if there are any."""

    symbol: str
    in_legend: str
    color: RGB | None


class _Signal(NamedTuple):
    """What plotext draws."""

    x: Floats
    y: Floats
    symbol: str
    color: RGB | None
    is_joined: bool = True


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
    if height is None:
        rows, gap = min(18, max(10, screen.height - 6)), 1
    else:
        rows, gap = height // max(1, -(-len(panels) // columns)), 0
    width = (screen.width - 2 * (columns - 1)) // columns
    grid = Table.grid(padding=(0, 2, gap, 0))
    for _ in range(columns):
        grid.add_column(width=width)
    charts = [draw_panel(panel, width, rows, colors=screen.colors) for panel in panels]
    for first in range(0, len(charts), columns):
        grid.add_row(*charts[first : first + columns])
    return grid


def _num_columns(panels: Sequence[Panel], screen: Screen) -> int:
    if screen.width >= _TWO_COLUMNS and len(panels) > 1:
        return 2
    return 1


def draw_followed(
    panels: Sequence[Panel],
    histories: Sequence[TrainingHistory],
    notes: Sequence[str],
    screen: Screen,
) -> RenderableType:
    """Trainings that go on: as many panels as the screen holds, how far they are, and notes."""
    words: list[Text] = []
    if histories:
        words.append(best_lines(histories))
    words += [Text(visible(note)) for note in notes]
    most = _num_columns(panels, screen) * max(1, (screen.height - 2 - len(words)) // _LEAST_ROWS)
    by_rank = sorted(range(len(panels)), key=lambda index: panels[index].rank)
    kept, left_out = [], []
    for index, panel in enumerate(panels):
        if index in by_rank[:most]:
            kept.append(panel)
        else:
            left_out.append(panel.title)
    if histories and left_out:
        words.append(Text(f"no room for: {', '.join(left_out)}", "dim"))
    words.append(Text("q or Ctrl-C ends", "dim"))
    lines = Text("\n").join(words).wrap(Console(), screen.width)
    below = Text("\n").join(lines)
    if not histories:
        return below
    height = screen.height - 1 - len(lines)
    return Group(draw_panels(kept, screen, height=height), below)


def best_lines(histories: Sequence[TrainingHistory]) -> Text:
    """What the best model of each run is from, in words."""
    return Text("\n".join(f"{history.name}: {_best_words(history)}" for history in histories))


def _best_words(history: TrainingHistory) -> str:
    chosen, number = history.chosen, len(history.records)
    if chosen is not None:
        return (
            f"chosen step {chosen.step} of {chosen.num_steps}, "
            f"{plural(chosen.parameters, 'parameter')}, validation Dice {chosen.val_dice:.4f}"
        )
    best = history.best
    if math.isnan(best.val_dice):
        return f"no validation Dice in {plural(number, 'epoch')}"
    words = f"best epoch {best.epoch} of {number}, validation Dice {best.val_dice:.4f}"
    if len(best.val_dice_per_label) > 1:
        each = [f"{name} {value:.4f}" for name, value in best.val_dice_per_label.items()]
        words += f" ({visible(', '.join(each))})"
    return words


def draw_panel(panel: Panel, width: int, height: int, *, colors: bool) -> RenderableType:
    """One panel with its legend above, in `width` columns and `height` rows."""
    entries = [Text(panel.title, "bold")]
    signals: list[_Signal] = []
    diamonds: list[_Signal] = []
    for index, line in enumerate(panel.lines):
        look = _look_of(line, index, colors=colors)
        entries.append(_entry(line, look))
        signals += _signals_of(line, look, width, log=panel.log)
        if line.best is not None and _can_be_drawn(line.raw, log=panel.log)[line.best]:
            place = [line.best]
            diamonds.append(_Signal(line.x[place], line.raw[place], "◆", look.color))
    if diamonds:
        entries.append(Text(f"◆ {panel.mark}"))
    head = flow(entries, width)
    rows = max(5, height - 1 - head.plain.count("\n"))
    # Drawn last, diamonds stand on top of the lines.
    return Group(head, _chart([*signals, *diamonds], panel, (width, height), rows))


def _look_of(line: Line, index: int, *, colors: bool) -> _Look:
    if not colors:
        symbol = _SYMBOLS[index % len(_SYMBOLS)]
        return _Look(symbol, symbol, None)
    color = label_colors(line.color + 1)[line.color]
    if line.is_faint:
        return _Look("·", "·", color)
    if line.is_point:
        return _Look("●", "●", color)
    return _Look("braille", "■", color)


def _entry(line: Line, look: _Look) -> Text:
    text = f"{look.in_legend} {line.name}"
    if look.color is None:
        return Text(text)
    return Text(text, Style(color=to_hex(look.color)))


def _signals_of(line: Line, look: _Look, width: int, *, log: bool) -> list[_Signal]:
    """The line, and where there are colours, the values before smoothing behind it."""
    layers = [(line.y, look.symbol)]
    if line.y is not line.raw and look.color is not None:
        layers.insert(0, (line.raw, "·"))
    signals = []
    for values, symbol in layers:
        kept = _can_be_drawn(values, log=log)
        if kept.any():
            x, y = thin_out(line.x[kept], values[kept], width)
            signals.append(_Signal(x, y, symbol, look.color, is_joined=not line.is_point))
    return signals


def _can_be_drawn(values: Floats, *, log: bool) -> npt.NDArray[np.bool_]:
    is_drawn: npt.NDArray[np.bool_] = np.isfinite(values)
    if log:
        is_drawn &= values > 0
    return is_drawn


def _chart(signals: Sequence[_Signal], panel: Panel, size: tuple[int, int], rows: int) -> Text:
    width, height = size
    figure = _new_figure(width, rows)
    if signals:
        x = np.concatenate([signal.x for signal in signals])
        y = np.concatenate([signal.y for signal in signals])
        _set_ruler(figure, "x", x, width // _TICK_COLUMNS, log=panel.log_x)
        _set_ruler(figure, "y", y, height // _TICK_ROWS, log=panel.log)
        figure.label(panel.x_label, "x")
    for signal in signals:
        shown = signal
        if panel.log:
            shown = shown._replace(y=np.log10(signal.y))
        if panel.log_x:
            shown = shown._replace(x=np.log10(signal.x))
        _add(figure, shown, lines=signal.is_joined and len(signal.x) > 1)
    return _built(figure)


def draw_points(
    points: Sequence[tuple[float, float, str, bool]], labels: tuple[str, str], screen: Screen
) -> RenderableType:
    """Points (x, y, mark, is highlighted) over a logarithmic x axis."""
    width, height = min(screen.width, 100), min(22, max(10, screen.height - 8))
    figure = _new_figure(width, height)
    x, y = np.array([point[:2] for point in points]).T
    _set_ruler(figure, "x", x, width // _TICK_COLUMNS, log=True)
    _set_ruler(figure, "y", y, height // _TICK_ROWS)
    figure.label(labels[0], "x")
    usual, special = label_colors(2)
    for at_x, at_y, mark, is_special in points:
        color: RGB | None = usual
        if is_special:
            color = special
        if not screen.colors:
            color = None
        point = _Signal(np.log10([at_x]), np.array([at_y]), mark, color)
        _add(figure, point, lines=False)
    return Group(Text(labels[1]), _built(figure))


# matplotlib.ticker finds such ticks too, but takes as long to import (0.2 s) as all of plotext, and
# these commands need nothing else of matplotlib.
def round_ticks(low: float, high: float, number: int, *, least_step: float = 0.0) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten between two bounds.

    They are about `number`, never more than one beyond.
    """
    rough = max((high - low) / max(1, number), least_step)
    steps = 10.0 ** math.floor(math.log10(rough)) * np.array([1, 2, 5, 10])
    step = steps[steps >= rough * (1 - _ROUNDING)][0]
    first, last = math.ceil(low / step - _ROUNDING), math.floor(high / step + _ROUNDING)
    ticks: list[float] = (np.arange(first, last + 1) * step).tolist()
    return ticks


def log_ticks(low: float, high: float, number: int) -> list[float]:
    """Round values between two positive bounds, at most about `number`.

    They are powers of ten, and what lies between if those are few.
    """
    found: list[float] = []
    for factors in ((1,), (1, 3), (1, 2, 5), range(1, 10)):
        finer = _between(low, high, factors)
        if found and len(finer) > number:
            break
        found = finer
    if len(found) < 2:
        return [low, high]
    return found


def _between(low: float, high: float, factors: Iterable[int]) -> list[float]:
    """The products of factors and powers of ten between two positive bounds."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    values = []
    for power in range(first, last + 1):
        for factor in factors:
            value = factor * 10.0**power
            if low <= value <= high:
                values.append(value)
    return values


def tick_labels(ticks: Sequence[float], *, log: bool = False) -> list[str]:
    """Short numbers that differ as the ticks do: `0.05`, `48`, `350k`, `1.9M`."""
    step = 0.0
    if not log and len(ticks) > 1:
        step = min(abs(second - first) for first, second in pairwise(ticks))
    return [_short(tick, step) for tick in ticks]


def _short(value: float, step: float) -> str:
    """A number with the decimals of the step between ticks, or without a step with four digits."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        # Of thousands, 9929 is as short as 9.93k and says more.
        least = size
        if size == 1e3:
            least = 10 * size
        if abs(value) >= least:
            return _short(value / size, step / size) + letter
    if not step:
        return f"{value:.4g}"
    decimals = max(0, -math.floor(math.log10(step) + _ROUNDING))
    return f"{value:.{decimals}f}"


def _new_figure(width: int, height: int) -> Any:
    import plotext

    figure: Any = plotext.figure
    figure.clear()
    figure.theme("colorless")
    figure.plot_size(width, height)
    return figure


def _set_ruler(figure: Any, axis: str, values: Floats, number: int, *, log: bool = False) -> None:
    """Let an axis hold `values`, with about `number` round ticks.

    A logarithmic one is ruled for their logarithms: plotext knows no logarithmic axes.
    """
    low, high = float(values.min()), float(values.max())
    if low == high:
        margin = abs(low) / 2 or 0.5
        low, high = low - margin, high + margin
    ruler = figure.ruler(axis)
    if log:
        ticks = log_ticks(low, high, number)
        ruler.lim(math.log10(low), math.log10(high))
        ruler.ticks([*map(math.log10, ticks)], tick_labels(ticks, log=True))
        return
    # Between whole numbers, such as those of epochs, there are no ticks.
    least_step = float((values == values.round()).all())
    ticks = round_ticks(low, high, number, least_step=least_step)
    ruler.lim(low, high)
    ruler.ticks(ticks, tick_labels(ticks))


def _add(figure: Any, signal: _Signal, *, lines: bool) -> None:
    import plotext

    marker = plotext.marker(signal.symbol, signal.color)
    drawn = figure.signal(signal.x.tolist(), signal.y.tolist(), marker=marker)
    if lines:
        drawn = drawn.lines()
    figure.draw(drawn)


def _built(figure: Any) -> Text:
    return Text.from_ansi(figure.build().string().rstrip(), no_wrap=True)
