"""What the scripts of the page are given."""

from __future__ import annotations

import base64
import gzip
import math
from collections.abc import Sequence
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt

from lunet_cli.config.metrics import METRICS
from lunet_cli.render.curves import CurveOptions, Panel, curve_panels, thinned_out
from lunet_cli.render.palette import (
    ERRORS,
    LABEL_OPACITY,
    REFERENCE_COLOR,
    RGB,
    label_colors,
    to_hex,
)
from lunet_cli.render.prunings import dice_panel, width_panel
from lunet_cli.results.evaluation import EvalResult
from lunet_cli.results.report import ReportCase, RunReport
from lunet_cli.results.views import PruningView

# Stretches of a curve, of each of which the lowest and the highest value are kept: a chart in the
# page is 560 units wide, and shows no more.
_STRETCHES = 600
_ENDINGS = {2: "nd", 3: "rd"}


class LineData(TypedDict):
    """A line of a chart: a value per place, None where undefined; `best` is (x, y) of a diamond."""

    name: str
    color: str
    y: list[float | None]
    best: tuple[float, float] | None


class ChartData(TypedDict):
    """Lines over the same epochs, so that the values under a pointer belong together."""

    title: str
    x_label: str
    y_label: str
    x: list[float]
    lines: list[LineData]


class MetricData(TypedDict):
    """A column of the table of cases."""

    name: str
    better: str
    decimals: int
    definition: str


class RowData(TypedDict):
    """A row of the table of cases, with a value per metric, None where undefined."""

    case: str
    label: str
    values: list[float | None]
    prediction_ml: float
    reference_ml: float


class ColorData(TypedDict):
    """A label, or a kind of error, with its red, green and blue."""

    name: str
    color: RGB


class CaseData(TypedDict):
    """A case with its pictures; arrays are compressed bytes as text, in the order z, y, x."""

    name: str
    role: str
    dice: str
    shape: tuple[int, ...]
    spacing_mm: tuple[float, float, float]
    first: tuple[int, int, int]
    steps: tuple[int, int, int]
    thinned: str
    best: list[int]
    sides: list[tuple[str, str, str, str] | None]
    image: str
    reference: str
    prediction: str


class PageData(TypedDict):
    """All of it."""

    curves: list[ChartData]
    pruning: list[ChartData]
    metrics: list[MetricData]
    rows: list[RowData]
    labels: list[ColorData]
    errors: list[ColorData]
    reference_color: RGB
    opacity: int
    cases: list[CaseData]


def page_data(report: RunReport) -> PageData:
    """What the scripts draw of a run."""
    errors: list[ColorData] = []
    for style in ERRORS.values():
        errors.append({"name": style.name, "color": style.color})
    return {
        "curves": [*map(_chart, curve_panels([report.history], CurveOptions()))],
        "pruning": _pruning(report.pruning),
        "metrics": _metrics(report.evaluation),
        "rows": _rows(report.evaluation),
        "labels": _labels(_label_names(report)),
        "errors": errors,
        "reference_color": REFERENCE_COLOR,
        "opacity": round(100 * LABEL_OPACITY),
        "cases": [*map(_case, report.cases)],
    }


def _pruning(view: PruningView | None) -> list[ChartData]:
    if view is None:
        return []
    return [_chart(dice_panel(view)), _chart(width_panel(view))]


def _chart(panel: Panel) -> ChartData:
    # What is kept of any line is kept of all, since they share their places.
    kept = np.unique(np.concatenate([thinned_out(line.y, _STRETCHES) for line in panel.lines]))
    lines: list[LineData] = []
    for line in panel.lines:
        best: tuple[float, float] | None = None
        if line.best is not None and np.isfinite(line.raw[line.best]):
            best = (float(line.x[line.best]), float(line.raw[line.best]))
        lines.append(
            {
                "name": line.name,
                "color": to_hex(label_colors(line.color + 1)[line.color]),
                "y": [*map(_number, line.y[kept].tolist())],
                "best": best,
            }
        )
    return {
        "title": panel.title,
        "x_label": panel.x_label,
        "y_label": panel.y_label,
        "x": panel.lines[0].x[kept].tolist(),
        "lines": lines,
    }


def _metrics(evaluation: EvalResult | None) -> list[MetricData]:
    if evaluation is None:
        return []
    found: list[MetricData] = []
    for name, metric in METRICS.items():
        if name in evaluation.scores[0].values:
            found.append(
                {
                    "name": metric.title,
                    "better": metric.better,
                    "decimals": metric.decimals,
                    "definition": metric.definition,
                }
            )
    return found


def _rows(evaluation: EvalResult | None) -> list[RowData]:
    if evaluation is None:
        return []
    rows: list[RowData] = []
    for score in evaluation.scores:
        rows.append(
            {
                "case": score.case,
                "label": score.label,
                "values": [_number(score.values[name]) for name in METRICS if name in score.values],
                "prediction_ml": round(score.prediction_ml, 4),
                "reference_ml": round(score.reference_ml, 4),
            }
        )
    return rows


def _label_names(report: RunReport) -> Sequence[str]:
    if report.cases and report.cases[0].volume.labels:
        return report.cases[0].volume.labels
    if report.evaluation is None:
        return ()
    return list(dict.fromkeys(score.label for score in report.evaluation.scores))


def _labels(names: Sequence[str]) -> list[ColorData]:
    found: list[ColorData] = []
    for name, color in zip(names, label_colors(len(names)), strict=True):
        found.append({"name": name, "color": color})
    return found


def _case(case: ReportCase) -> CaseData:
    volume = case.volume
    best, sides = [], []
    for axis in range(3):
        best.append(volume.best_position(axis))
        sides.append(volume.cut(axis, 0).sides)
    low, high = volume.intensity_range()
    # A byte per voxel is what a browser draws, and what keeps the page small.
    grey = np.clip((volume.image.astype(np.float32) - low) / (high - low), 0, 1) * 255
    return {
        "name": volume.name,
        "role": case.role,
        "dice": volume.dice_words,
        "shape": volume.image.shape,
        "spacing_mm": volume.spacing_mm,
        "first": case.first,
        "steps": case.steps,
        "thinned": _thinned(case.steps),
        "best": best,
        "sides": sides,
        "image": _pack(grey.round().astype(np.uint8)),
        "reference": _pack(volume.reference),
        "prediction": _pack(volume.prediction),
    }


def _thinned(steps: tuple[int, int, int]) -> str:
    """Which voxels are shown, in words; empty if all of the part are."""
    axes = []
    for step, axis in zip(reversed(steps), "xyz", strict=True):
        if step > 1:
            axes.append(f"every {step}{_ENDINGS.get(step, 'th')} along {axis}")
    if not axes:
        return ""
    return f"thinned out: {', '.join(axes)}"


def _pack(array: npt.NDArray[Any] | None) -> str:
    """Bytes of an array, compressed, as text; labels beyond 255 share the last number."""
    assert array is not None
    values = np.minimum(array, 255).astype(np.uint8)
    # Without a time, the same array gives the same text.
    return base64.b64encode(gzip.compress(np.ascontiguousarray(values).tobytes(), mtime=0)).decode()


def _number(value: float) -> float | None:
    """Six digits: more than a chart or a table shows. JSON does not know NaN."""
    if not math.isfinite(value):
        return None
    return float(f"{value:.6g}")
