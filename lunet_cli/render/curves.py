"""Which lines a picture of trainings has, whatever it is drawn with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import numpy as np
import numpy.typing as npt

from lunet_cli.results.training import EpochRecord, TrainingHistory
from lunet_cli.results.words import visible

Floats = npt.NDArray[np.float64]
Quantity = Literal["loss", "dice", "lr"]
QUANTITIES: tuple[Quantity, ...] = ("loss", "dice", "lr")


@dataclass(frozen=True)
class CurveOptions:
    """How the histories of trainings are drawn.

    Args:
        x_axis: What they are drawn against; seconds count the epochs, not the time before and
            between.
        smoothing: Weight of the past in an exponential moving average, 0 to below 1.
        log: Whether losses and learning rates have a logarithmic axis.
        quantities: What is drawn.
    """

    x_axis: Literal["epoch", "seconds"] = "epoch"
    smoothing: float = 0.0
    log: bool = False
    quantities: tuple[Quantity, ...] = QUANTITIES


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line.

    Args:
        name: For the legend.
        color: Which colour, from 0 on.
        x: Where (N,).
        y: What is drawn there (N,), smoothed if that was asked for.
        raw: The values themselves (N,); the best epoch is marked on them.
        best: Index of what the panel marks, such as the epoch with the best validation Dice; None
            where nothing is marked.
        is_faint: Whether it stands behind the others: training beside validation.
        is_point: Whether it is drawn as points that are not joined.
    """

    name: str
    color: int
    x: Floats
    y: Floats
    raw: Floats
    best: int | None = None
    is_faint: bool = False
    is_point: bool = False


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One pair of axes.

    Args:
        title: What is drawn.
        x_label: Against what.
        y_label: What the values are.
        lines: The lines.
        log: Whether the values have a logarithmic axis.
        log_x: Whether what they are drawn against has one.
        mark: What a diamond marks.
        rank: Its place among the panels where not all find room, from 0 on.
    """

    title: str
    x_label: str
    y_label: str
    lines: tuple[Line, ...]
    log: bool = False
    log_x: bool = False
    mark: str = "best epoch"
    rank: int = 0


def curve_panels(histories: Sequence[TrainingHistory], options: CurveOptions) -> list[Panel]:
    """The panels for one run, with its labels as lines, or for several, with the runs as lines."""
    panels: list[Panel] = []
    for quantity in options.quantities:
        if quantity == "loss":
            panels.append(_loss_panel(histories, options))
        elif quantity == "lr":
            panels.append(_learning_rate_panel(histories, options))
        elif len(histories) == 1:
            panels.append(_dice_panel_of_labels(histories[0], options))
        else:
            panels += _dice_panels_of_runs(histories, options)
    mark = ", ".join(dict.fromkeys(history.mark for history in histories))
    return [replace(panel, mark=mark) for panel in panels]


def thin_out(x: Floats, y: Floats, number: int) -> tuple[Floats, Floats]:
    """The points (N,) that `thinned_out` keeps."""
    kept = thinned_out(y, number)
    return x[kept], y[kept]


def thinned_out(y: Floats, number: int) -> npt.NDArray[np.int64]:
    """Indices of the lowest and the highest of each of `number` stretches: what a screen can show.

    What is not finite is passed over, unless a stretch has nothing else; few points are all kept.
    """
    if len(y) <= 2 * number:
        return np.arange(len(y))
    # Extremes and not means, so that a peak of a single epoch does not vanish.
    edges = np.linspace(0, len(y), number + 1).astype(int)
    is_finite = np.isfinite(y)
    low, high = np.where(is_finite, y, np.inf), np.where(is_finite, y, -np.inf)
    kept: list[int] = []
    for first, stop in pairwise(edges.tolist()):
        lowest = first + int(low[first:stop].argmin())
        highest = first + int(high[first:stop].argmax())
        kept += sorted({lowest, highest})
    return np.array(kept)


def _loss_panel(histories: Sequence[TrainingHistory], options: CurveOptions) -> Panel:
    """Training and validation: in two colours of one run, in that of the run of several."""
    has_several = len(histories) > 1
    lines = []
    for index, history in enumerate(histories):
        prefix, colors = "", (0, 1)
        if has_several:
            prefix, colors = f"{history.name} ", (index, index)
        of_training = _per_epoch(history, lambda record: record.train_loss)
        of_validation = _per_epoch(history, lambda record: record.val_loss)
        drawing = _Drawing(history, options)
        lines += [
            drawing.line(f"{prefix}training", colors[0], of_training, is_faint=has_several),
            drawing.validation(f"{prefix}validation", colors[1], of_validation, marks_best=True),
        ]
    return Panel(
        title=f"Loss{_smoothed(options)}",
        x_label=_x_label(options),
        y_label="loss",
        lines=tuple(lines),
        log=options.log,
        rank=1,
    )


def _learning_rate_panel(histories: Sequence[TrainingHistory], options: CurveOptions) -> Panel:
    # A learning rate is set and not measured: smoothing would only hide its steps.
    exact = CurveOptions(x_axis=options.x_axis)
    lines = []
    for index, history in enumerate(histories):
        rates = _per_epoch(history, lambda record: record.learning_rate)
        lines.append(_Drawing(history, exact).line(history.name, index, rates))
    return Panel(
        title="Learning rate",
        x_label=_x_label(options),
        y_label="learning rate",
        lines=tuple(lines),
        log=options.log,
        rank=3,
    )


def _dice_panel_of_labels(history: TrainingHistory, options: CurveOptions) -> Panel:
    """A line per label, and one of their mean where there are several."""
    labels = list(history.records[0].val_dice_per_label)
    is_alone = len(labels) == 1
    drawing = _Drawing(history, options)
    lines = []
    for index, label in enumerate(labels):
        values = _dice_of(history, label)
        lines.append(drawing.validation(label, index, values, marks_best=is_alone))
    if not is_alone and labels:
        values = _dice_of(history, None)
        lines.append(drawing.validation("mean of labels", len(labels), values, marks_best=True))
    return _dice_panel("", lines, options)


def _dice_panels_of_runs(
    histories: Sequence[TrainingHistory], options: CurveOptions
) -> list[Panel]:
    """A panel of the mean over labels with a line per run, and one of each label of several."""
    labels: dict[str, None] = {}
    for history in histories:
        labels |= dict.fromkeys(history.records[0].val_dice_per_label)
    if len(labels) <= 1:
        return [_dice_panel("", _dice_lines(histories, None, options), options)]
    panels = [_dice_panel("mean of labels", _dice_lines(histories, None, options), options)]
    for label in labels:
        lines = _dice_lines(histories, label, options)
        panels.append(_dice_panel(visible(label), lines, options, rank=2))
    return panels


def _dice_lines(
    histories: Sequence[TrainingHistory], label: str | None, options: CurveOptions
) -> list[Line]:
    """A line for each run that has the label; the best epoch is that of the mean, without one."""
    lines = []
    for index, history in enumerate(histories):
        if label is None or label in history.records[0].val_dice_per_label:
            values = _dice_of(history, label)
            drawing = _Drawing(history, options)
            marks_best = label is None
            lines.append(drawing.validation(history.name, index, values, marks_best=marks_best))
    return lines


def _dice_of(history: TrainingHistory, label: str | None) -> Floats:
    """Validation Dice of each epoch (N,): of a label, or the mean over labels."""
    if label is None:
        return _per_epoch(history, lambda record: record.val_dice)
    return _per_epoch(history, lambda record: record.val_dice_per_label[label])


def _per_epoch(history: TrainingHistory, value: Callable[[EpochRecord], float]) -> Floats:
    return np.array([value(record) for record in history.records], dtype=float)


def _dice_panel(of: str, lines: Sequence[Line], options: CurveOptions, rank: int = 0) -> Panel:
    title = "Validation Dice"
    if of:
        title += f", {of}"
    return Panel(
        title=title + _smoothed(options),
        x_label=_x_label(options),
        y_label="Dice",
        lines=tuple(lines),
        rank=rank,
    )


def _smoothed(options: CurveOptions) -> str:
    if not options.smoothing:
        return ""
    return f" (smoothed, {options.smoothing:g})"


def _x_label(options: CurveOptions) -> str:
    return {"epoch": "epoch", "seconds": "training time in s"}[options.x_axis]


class _Drawing:
    """What the lines of one training have in common: where they are drawn, and the best epoch."""

    def __init__(self, history: TrainingHistory, options: CurveOptions) -> None:
        self._smoothing = options.smoothing
        self._x = _per_epoch(history, lambda record: record.epoch)
        if options.x_axis == "seconds":
            self._x = np.cumsum(_per_epoch(history, lambda record: record.epoch_seconds))
        self._validated = np.flatnonzero([record.is_validated for record in history.records])
        self._best: int | None = None
        best = history.of_best_model
        if best is not None and best.is_validated:
            epoch = history.records.index(best)
            self._best = int(np.searchsorted(self._validated, epoch))

    def line(self, name: str, color: int, raw: Floats, *, is_faint: bool = False) -> Line:
        """A line of a value per epoch (N,)."""
        return Line(
            name=visible(name),
            color=color,
            x=self._x,
            y=_smooth(raw, self._smoothing),
            raw=raw,
            is_faint=is_faint,
        )

    def validation(self, name: str, color: int, raw: Floats, *, marks_best: bool) -> Line:
        """A line of a value per epoch (N,), through those that were validated."""
        line = self.line(name, color, raw)
        if len(self._validated) == 0:
            return line
        best: int | None = None
        if marks_best:
            best = self._best
        kept = self._validated
        return replace(line, x=line.x[kept], y=line.y[kept], raw=line.raw[kept], best=best)


def _smooth(values: Floats, weight: float) -> Floats:
    """Exponential moving average; what is not finite is passed over.

    It is corrected for its start at 0 as in Adam (Kingma and Ba 2015, section 3).
    """
    if not weight:
        return values
    smooth, average, total = np.empty_like(values), 0.0, 0.0
    for index, value in enumerate(values.tolist()):
        if np.isfinite(value):
            average = weight * average + (1 - weight) * value
            total = weight * total + (1 - weight)
        # Before the first finite value there is no average.
        smooth[index] = value
        if total:
            smooth[index] = average / total
    return smooth
