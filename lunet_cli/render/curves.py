"""Which lines a picture of trainings has, whatever it is drawn with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import numpy.typing as npt

from lunet_cli.results.training import TrainingHistory
from lunet_cli.results.words import visible

Floats = npt.NDArray[np.float64]
Quantity = Literal["loss", "dice", "lr"]
QUANTITIES: tuple[Quantity, ...] = ("loss", "dice", "lr")


@dataclass(frozen=True)
class CurveOptions:
    """How courses are drawn.

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


@dataclass(frozen=True)
class Line:
    """One line.

    Args:
        name: For the legend.
        color: Which colour, from 0 on.
        x: Where (N,).
        y: What is drawn there (N,), smoothed if that was asked for.
        raw: The values themselves (N,); the best epoch is marked on them.
        best: Index of the epoch with the best validation Dice; None where it is not marked.
        is_faint: Whether it stands behind the others: training beside validation.
    """

    name: str
    color: int
    x: Floats
    y: Floats
    raw: Floats
    best: int | None = None
    is_faint: bool = False


@dataclass(frozen=True)
class Panel:
    """One pair of axes.

    Args:
        title: What is drawn.
        x_label: Against what.
        y_label: What the values are.
        lines: The lines.
        log: Whether the values have a logarithmic axis.
        rank: Its place among the panels where not all find room, from 0 on.
    """

    title: str
    x_label: str
    y_label: str
    lines: tuple[Line, ...]
    log: bool = False
    rank: int = 0


def curve_panels(courses: Sequence[TrainingHistory], options: CurveOptions) -> list[Panel]:
    """The panels for one run, with its labels as lines, or for several, with the runs as lines."""
    xs = [_positions(course, options) for course in courses]
    x_label = "epoch" if options.x_axis == "epoch" else "training time in s"
    several = len(courses) > 1
    panels: list[Panel] = []
    for quantity in options.quantities:
        if quantity == "loss":
            lines = []
            for index, (course, x) in enumerate(zip(courses, xs, strict=True)):
                prefix = f"{course.name} " if several else ""
                colors = (index, index) if several else (0, 1)
                train, val = (
                    [getattr(r, key) for r in course.records] for key in ("train_loss", "val_loss")
                )
                lines.append(
                    _line(f"{prefix}training", colors[0], x, train, options, is_faint=several)
                )
                lines.append(
                    _line(f"{prefix}validation", colors[1], x, val, options, best=_best(course))
                )
            panels.append(
                Panel(
                    f"Loss{_smoothed(options)}", x_label, "loss", tuple(lines), options.log, rank=1
                )
            )
        elif quantity == "dice":
            panels += _dice_panels(courses, xs, x_label, options)
        else:
            lines = [
                _line(
                    course.name, index, x, [r.learning_rate for r in course.records], CurveOptions()
                )
                for index, (course, x) in enumerate(zip(courses, xs, strict=True))
            ]
            panels.append(
                Panel("Learning rate", x_label, "learning rate", tuple(lines), options.log, rank=3)
            )
    return panels


def thin_out(x: Floats, y: Floats, number: int) -> tuple[Floats, Floats]:
    """The points (N,) that `thinned_out` keeps."""
    kept = thinned_out(y, number)
    return x[kept], y[kept]


def thinned_out(y: Floats, number: int) -> npt.NDArray[np.int64]:
    """Indices of two points for each of `number` stretches, the lowest and the highest: what a screen can show.

    What is not finite is passed over, unless a stretch has nothing else; few points are all kept.
    """
    if len(y) <= 2 * number:
        return np.arange(len(y))
    edges = np.linspace(0, len(y), number + 1).astype(int)
    is_finite = np.isfinite(y)
    low, high = np.where(is_finite, y, np.inf), np.where(is_finite, y, -np.inf)
    kept = [
        index
        for first, stop in pairwise(edges)
        for index in sorted(
            {first + int(low[first:stop].argmin()), first + int(high[first:stop].argmax())}
        )
    ]
    return np.array(kept)


def _dice_panels(
    courses: Sequence[TrainingHistory], xs: Sequence[Floats], x_label: str, options: CurveOptions
) -> list[Panel]:
    labels = list(
        dict.fromkeys(name for course in courses for name in course.records[0].val_dice_per_label)
    )
    if len(courses) == 1:
        (course,), (x,) = courses, xs
        lines = []
        for index, name in enumerate(labels):
            best = _best(course) if len(labels) == 1 else None
            values = [r.val_dice_per_label[name] for r in course.records]
            lines.append(_line(name, index, x, values, options, best=best))
        if len(labels) > 1:
            mean = [r.val_dice for r in course.records]
            lines.append(_line("mean of labels", len(labels), x, mean, options, best=_best(course)))
        return [Panel(f"Validation Dice{_smoothed(options)}", x_label, "Dice", tuple(lines))]
    shown: list[str | None] = [None, *(labels if len(labels) > 1 else [])]
    panels = []
    for label in shown:
        lines = []
        for index, (course, x) in enumerate(zip(courses, xs, strict=True)):
            if label is not None and label not in course.records[0].val_dice_per_label:
                continue
            values = [
                r.val_dice if label is None else r.val_dice_per_label[label] for r in course.records
            ]
            lines.append(
                _line(
                    course.name,
                    index,
                    x,
                    values,
                    options,
                    best=_best(course) if label is None else None,
                )
            )
        what = visible(label or ("mean of labels" if len(labels) > 1 else ""))
        title = f"Validation Dice{f', {what}' if what else ''}{_smoothed(options)}"
        panels.append(Panel(title, x_label, "Dice", tuple(lines), rank=0 if label is None else 2))
    return panels


def _smoothed(options: CurveOptions) -> str:
    return f" (smoothed, {options.smoothing:g})" if options.smoothing else ""


def _best(course: TrainingHistory) -> int | None:
    """Index of the best epoch; None where no Dice is defined."""
    return None if math.isnan(course.best.val_dice) else course.records.index(course.best)


def _positions(course: TrainingHistory, options: CurveOptions) -> Floats:
    if options.x_axis == "epoch":
        return np.array([record.epoch for record in course.records], dtype=float)
    seconds: Floats = np.cumsum([record.epoch_seconds for record in course.records])
    return seconds


def _line(
    name: str,
    color: int,
    x: Floats,
    values: Sequence[float],
    options: CurveOptions,
    *,
    best: int | None = None,
    is_faint: bool = False,
) -> Line:
    raw = np.array(values, dtype=float)
    return Line(visible(name), color, x, _smooth(raw, options.smoothing), raw, best, is_faint)


def _smooth(values: Floats, weight: float) -> Floats:
    """Exponential moving average, corrected for its start at 0 as in Adam; what is not finite is passed over."""
    if not weight:
        return values
    smooth, average, total = np.empty_like(values), 0.0, 0.0
    for index, value in enumerate(values.tolist()):
        if np.isfinite(value):
            average, total = weight * average + (1 - weight) * value, weight * total + (1 - weight)
        smooth[index] = average / total if total else value
    return smooth
