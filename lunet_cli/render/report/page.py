"""The page about a run: one file with everything in it, which asks no other host for anything."""

from __future__ import annotations

import base64
import gzip
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import numpy.typing as npt

from lunet_cli.config.metrics import METRICS
from lunet_cli.render.curves import CurveOptions, Panel, curve_panels, thinned_out
from lunet_cli.render.palette import ERRORS, LABEL_OPACITY, REFERENCE_COLOR, label_colors, to_hex
from lunet_cli.results.evaluation import EvalResult
from lunet_cli.results.report import ReportCase, RunReport
from lunet_cli.results.words import format_seconds, visible

_HERE = Path(__file__).parent
_SCRIPTS = (
    "common.js",
    "charts.js",
    "table.js",
    "pictures.js",
    "solid.js",
    "page.js",
)  # in this order
_STRETCHES = 600  # of a curve, each with its lowest and highest value


def render_page(report: RunReport) -> str:
    """The page as HTML."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    evaluation = report.evaluation
    data = {
        "curves": [_panel(panel) for panel in curve_panels([report.course], CurveOptions())],
        "metrics": _metrics(evaluation),
        "rows": _rows(evaluation),
        "labels": _labels(report),
        "errors": [{"name": one.name, "color": list(one.color)} for one in ERRORS.values()],
        "reference_color": list(REFERENCE_COLOR),
        "opacity": round(100 * LABEL_OPACITY),
        "cases": [_case(case) for case in report.cases],
    }
    page: str = environment.get_template("page.html.j2").render(
        report=report,
        data=_in_words(data),
        facts=_facts(report),
        provenance=() if report.origin is None else report.origin.details,
        summary=_summary(evaluation),
        style=(_HERE / "page.css").read_text(encoding="utf-8"),
        script="\n".join((_HERE / name).read_text(encoding="utf-8") for name in _SCRIPTS),
    )
    return page


def _shown(value: object) -> object:
    """What the template writes: our own markup as it is, all else in one line without control characters."""
    return value if hasattr(value, "__html__") else visible(value)


def _in_words(value: Any) -> Any:
    """The same of all texts in the data of the scripts, each in one line."""
    if isinstance(value, dict):
        return {key: _in_words(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_in_words(item) for item in value]
    return visible(value) if isinstance(value, str) else value


def _facts(report: RunReport) -> list[tuple[str, str]]:
    """What matters most, in words."""
    origin, best = report.origin, report.course.best
    rows = []
    if origin is not None:
        rows += [
            ("network", origin.architecture),
            ("parameters", f"{origin.num_parameters:,}"),
            ("data", origin.data_root or "built-in phantom"),
            ("cases", f"{origin.num_train} training, {origin.num_val} validation"),
        ]
    rows += [
        ("outcome", report.outcome if report.course.is_finished else "not finished"),
        ("best epoch", f"{best.epoch} of {len(report.course.records)}"),
        ("validation Dice", _text(best.val_dice, 4)),
    ]
    if len(best.val_dice_per_label) > 1:
        rows += [(f"· {name}", _text(value, 4)) for name, value in best.val_dice_per_label.items()]
    rows.append(
        (
            "training time",
            format_seconds(sum(record.epoch_seconds for record in report.course.records)),
        )
    )
    return [(name, value) for name, value in rows if value]


def _panel(panel: Panel) -> dict[str, Any]:
    """Lines over the same epochs, so that the values under a pointer belong together; null where undefined."""
    kept = np.unique(np.concatenate([thinned_out(line.y, _STRETCHES) for line in panel.lines]))
    lines = []
    for line in panel.lines:
        has_best = line.best is not None and np.isfinite(line.raw[line.best])
        best = [float(line.x[line.best]), float(line.raw[line.best])] if has_best else None
        color = to_hex(label_colors(line.color + 1)[-1])
        values = [_number(value) for value in line.y[kept].tolist()]
        lines.append({"name": line.name, "color": color, "y": values, "best": best})
    x = panel.lines[0].x[kept].tolist()
    return {
        "title": panel.title,
        "x_label": panel.x_label,
        "y_label": panel.y_label,
        "x": x,
        "lines": lines,
    }


def _metrics(evaluation: EvalResult | None) -> list[dict[str, Any]]:
    """The columns of the table of cases."""
    if evaluation is None:
        return []
    return [
        {
            "name": metric.title,
            "better": metric.better,
            "decimals": metric.decimals,
            "definition": metric.definition,
        }
        for name, metric in METRICS.items()
        if name in evaluation.scores[0].values
    ]


def _rows(evaluation: EvalResult | None) -> list[dict[str, Any]]:
    if evaluation is None:
        return []
    return [
        {
            "case": score.case,
            "label": score.label,
            "values": [_number(score.values[name]) for name in METRICS if name in score.values],
            "prediction_ml": round(score.prediction_ml, 4),
            "reference_ml": round(score.reference_ml, 4),
        }
        for score in evaluation.scores
    ]


def _summary(evaluation: EvalResult | None) -> list[dict[str, str]]:
    """Means of the evaluation, as they are printed by `lunet eval`."""
    if evaluation is None:
        return []
    rows = []
    for row in evaluation.summaries:
        metric = METRICS[row.metric]  # type: ignore[index]  # one of its keys
        digits = metric.decimals
        low, high = row.interval
        rows.append(
            {
                "label": row.label,
                "metric": metric.title,
                "mean": _text(row.mean, digits),
                "penalized": ""
                if math.isnan(row.penalized_mean)
                else _text(row.penalized_mean, digits),
                "sd": _text(row.sd, digits),
                "median": _text(row.median, digits),
                "interval": ""
                if math.isnan(low)
                else f"{_text(low, digits)} to {_text(high, digits)}",
                "undefined": str(row.num_undefined),
            }
        )
    return rows


def _labels(report: RunReport) -> list[dict[str, Any]]:
    names: Sequence[str] = report.cases[0].volume.labels if report.cases else ()
    if not names and report.evaluation is not None:
        names = list(dict.fromkeys(score.label for score in report.evaluation.scores))
    return [
        {"name": name, "color": list(color)}
        for name, color in zip(names, label_colors(len(names)), strict=True)
    ]


def _case(case: ReportCase) -> dict[str, Any]:
    volume = case.volume
    low, high = volume.intensity_range()
    grey = np.clip((volume.image.astype(np.float32) - low) / (high - low), 0, 1) * 255
    return {
        "name": volume.name,
        "role": case.role,
        "dice": volume.dice_words,
        "shape": list(volume.image.shape),
        "spacing_mm": list(volume.spacing_mm),
        "first": list(case.first),
        "steps": list(case.steps),
        "thinned": _thinned(case.steps),
        "best": [volume.best_position(axis) for axis in range(3)],
        "sides": [volume.cut(axis, 0).sides for axis in range(3)],
        "image": _pack(grey.round().astype(np.uint8)),
        "reference": _pack(volume.reference),
        "prediction": _pack(volume.prediction),
    }


def _thinned(steps: tuple[int, int, int]) -> str:
    """Which voxels are shown, in words; empty if all of the part are."""
    axes = [
        f"every {step}{'nd' if step == 2 else 'rd' if step == 3 else 'th'} along {axis}"
        for step, axis in zip(reversed(steps), "xyz", strict=True)
        if step > 1
    ]
    return f"thinned out: {', '.join(axes)}" if axes else ""


def _pack(array: npt.NDArray[Any] | None) -> str:
    """Bytes of an array, compressed, as text; labels beyond 255 share the last number."""
    assert array is not None
    values = np.minimum(array, 255).astype(np.uint8)
    return base64.b64encode(gzip.compress(np.ascontiguousarray(values).tobytes(), mtime=0)).decode()


def _number(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None


def _text(value: float, digits: int) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"
