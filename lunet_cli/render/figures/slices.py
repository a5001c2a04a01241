"""Slices of cases, in millimetres, with contours."""

from __future__ import annotations

import bisect
import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke

from lunet_cli.render.figures.style import FULL_WIDTH, legend_columns, new_figure, styled, unit
from lunet_cli.render.palette import (
    ERROR_COLORS,
    ERRORS,
    LABEL_OPACITY,
    REFERENCE_COLOR,
    RGB,
    label_colors,
)
from lunet_cli.results.views import LabelImage, Slice

_MONTAGE_COLUMNS = 4
_LEGEND_HEIGHT = 0.25
_AROUND = 0.75  # inches above and below a row, for titles and ticks
_HEADING, _LINE = 15, 0.14  # characters per inch, and inches per line, in 8 points
_FLAT = 0.25  # height by width
_PARTS = 4  # of a voxel, along each edge
# Behind white words on a white image.
_SHADED = {"facecolor": (0, 0, 0, 0.5), "edgecolor": "none", "pad": 0.8}
_NUM_ERRORS = 4  # entries in a legend: three kinds, and the outline of the reference
_SCALES_MM = (1, 2, 5, 10, 20, 50, 100, 200)
_ERROR_OPACITY = 0.9  # nearly opaque: they matter more than the image behind them


class _Side(NamedTuple):
    """Where the name of a side of the patient stands in a picture, and how it is aligned."""

    x: float
    y: float
    across: str
    along: str


# In the order of `Slice.sides`: left, right, top and bottom.
_SIDES = (
    _Side(0.02, 0.5, "left", "center"),
    _Side(0.98, 0.5, "right", "center"),
    _Side(0.5, 0.98, "center", "top"),
    _Side(0.5, 0.02, "center", "bottom"),
)


@styled
def slices_figure(cuts: Sequence[Slice]) -> Figure:
    """A row per slice: the image, the reference, the prediction, and where they differ."""
    columns = len(cuts[0].panels)
    width = FULL_WIDTH / 4 * columns
    headings, heights = [], []
    for cut in cuts:
        heading = textwrap.fill(cut.heading, int(width * _HEADING))
        headings.append(heading)
        heights.append(FULL_WIDTH / 4 * _ratio(cut) + _AROUND + _LINE * heading.count("\n"))
    figure = new_figure(width, sum(heights) + _LEGEND_HEIGHT * legend_rows(cuts[0].labels, width))
    rows: Any = figure.subfigures(len(cuts), 1, height_ratios=heights, squeeze=False)
    for cut, heading, row in zip(cuts, headings, rows[:, 0], strict=True):
        row.suptitle(heading, x=0.01, ha="left", fontsize=8)
        for title, axes in zip(cut.panels, row.subplots(1, columns, squeeze=False)[0], strict=True):
            draw_on(axes, cut, title, with_ticks=title == "image")
            axes.set_title(title, loc="left", fontsize=7)
    add_legend(figure, cuts[0].labels, with_errors=cuts[0].errors() is not None)
    return figure


@styled
def montage_figure(cuts: Sequence[Slice]) -> Figure:
    """Many slices of one case, with the contours of the reference, and of the prediction dashed."""
    columns = min(_MONTAGE_COLUMNS, len(cuts))
    rows = -(-len(cuts) // columns)
    size = FULL_WIDTH / _MONTAGE_COLUMNS
    below = _LEGEND_HEIGHT * legend_rows(cuts[0].labels, size * columns)
    figure = new_figure(size * columns, rows * (size * _ratio(cuts[0]) + 0.3) + below)
    figure.suptitle(f"{cuts[0].axis_name} slices", fontsize=8)
    case = ""
    for place, cut in enumerate(cuts, start=1):
        axes = figure.add_subplot(rows, columns, place)
        draw_on(axes, cut, "montage", with_ticks=False)
        title = str(cut.position)
        if cut.name != case:
            title = f"{cut.name}, slice {cut.position}"
            case = cut.name
        axes.set_title(title, loc="left", fontsize=7)
        if place == 1:
            _add_scale_bar(axes, cut)
    both = cuts[0].errors() is not None
    add_legend(figure, cuts[0].labels, with_errors=False, with_lines=both)
    return figure


def draw_on(axes: Axes, cut: Slice, panel: str, *, with_ticks: bool) -> None:
    """One panel of a slice: `image`, `reference`, `prediction`, `error` or `montage`."""
    _show(axes, cut, cut.image)
    if panel == "montage":
        _outline(axes, cut, cut.reference, "-")
        # Dashed only beside the lines of a reference.
        if cut.reference is None:
            _outline(axes, cut, cut.prediction, "-")
        else:
            _outline(axes, cut, cut.prediction, "--")
    elif panel == "reference":
        _fill(axes, cut, cut.reference, label_colors(len(cut.labels)), LABEL_OPACITY)
        _outline(axes, cut, cut.reference, "-")
    elif panel == "prediction":
        _fill(axes, cut, cut.prediction, label_colors(len(cut.labels)), LABEL_OPACITY)
        _outline(axes, cut, cut.prediction, "-")
    elif panel == "error":
        _fill(axes, cut, cut.errors(), ERROR_COLORS, _ERROR_OPACITY)
        if cut.reference is not None:
            _contour(axes, cut, cut.reference > 0, REFERENCE_COLOR, "-")
    _finish(axes, cut, with_ticks=with_ticks)


def add_legend(
    figure: Figure, labels: Sequence[str], *, with_errors: bool, with_lines: bool = False
) -> None:
    """What the colours mean, below everything."""
    handles: list[Patch | Line2D] = []
    for name, color in zip(labels, label_colors(len(labels)), strict=True):
        handles.append(Patch(color=unit(color), label=name))
    if with_errors:
        handles += [Patch(color=unit(one.color), label=one.name) for one in ERRORS.values()]
        handles.append(Line2D([], [], color=unit(REFERENCE_COLOR), label="reference"))
    if with_lines:
        handles.append(Line2D([], [], color="black", linestyle="-", label="reference"))
        handles.append(Line2D([], [], color="black", linestyle="--", label="prediction"))
    if not handles:
        return
    names = [str(handle.get_label()) for handle in handles]
    columns = min(len(names), legend_columns(names, figure.bbox.width / figure.get_dpi()))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, fontsize=7)


def _add_scale_bar(axes: Axes, cut: Slice) -> None:
    """A round number of millimetres, at most a third of the picture, in its lower corner."""
    height, width = cut.extent_mm
    length = _SCALES_MM[bisect.bisect_right(_SCALES_MM, max(1.0, width / 3)) - 1]
    left, bottom = 0.04 * width, 0.95 * height
    bar = [withStroke(linewidth=3, foreground="black")]
    axes.plot([left, left + length], [bottom, bottom], color="white", linewidth=2, path_effects=bar)
    words = f"{length} mm"
    axes.text(
        left, bottom - 0.02 * height, words, color="white", fontsize=6, va="bottom", bbox=_SHADED
    )


def legend_rows(labels: Sequence[str], width: float) -> int:
    """Rows that a legend takes in `width` inches, with four entries for errors."""
    columns = legend_columns([*labels, *(style.name for style in ERRORS.values())], width)
    return -(-(len(labels) + _NUM_ERRORS) // columns)


def _ratio(cut: Slice) -> float:
    height, width = cut.extent_mm
    return height / width


def _show(axes: Axes, cut: Slice, pixels: npt.NDArray[np.floating]) -> None:
    """Draw brightness (H, W) or colours (H, W, 4), 0 to 1, in millimetres, with row 0 on top."""
    height, width = cut.extent_mm
    axes.imshow(
        pixels,
        cmap="gray",
        vmin=0,
        vmax=1,
        extent=(0.0, width, height, 0.0),
        interpolation="nearest",
        aspect="equal",
    )


def _fill(
    axes: Axes, cut: Slice, values: LabelImage | None, colors: Sequence[RGB], alpha: float
) -> None:
    """Colour the pixels (H, W) of each index from 1 on; nothing, where there are none."""
    if values is None:
        return
    layer = np.zeros((*values.shape, 4))
    for value, color in enumerate(colors, start=1):
        layer[values == value] = unit(color, alpha)
    _show(axes, cut, layer)


def _outline(axes: Axes, cut: Slice, values: LabelImage | None, style: str) -> None:
    """Lines around each label of `values` (H, W); nothing, where there are none."""
    if values is None:
        return
    for value, color in enumerate(label_colors(len(cut.labels)), start=1):
        _contour(axes, cut, values == value, color, style)


def _contour(axes: Axes, cut: Slice, inside: npt.NDArray[np.bool_], color: RGB, style: str) -> None:
    """A line around pixels (H, W), along their edges."""
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    if not len(rows):
        return
    top, left = int(rows[0]), int(columns[0])
    part = inside[top : rows[-1] + 1, left : columns[-1] + 1]
    # Contours cut corners; of small parts of voxels, they cut little.
    part = np.pad(part.repeat(_PARTS, axis=0).repeat(_PARTS, axis=1), 1)
    height, width = cut.pixel_mm
    y = ((np.arange(part.shape[0]) - 0.5) / _PARTS + top) * height
    x = ((np.arange(part.shape[1]) - 0.5) / _PARTS + left) * width
    axes.contour(
        x,
        y,
        part.astype(np.float32),
        levels=[0.5],
        colors=[unit(color)],
        linestyles=style,
        linewidths=1.1,
    )


def _finish(axes: Axes, cut: Slice, *, with_ticks: bool) -> None:
    axes.grid(visible=False)
    height, width = cut.extent_mm
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.tick_params(labelsize=6, length=2)
    if with_ticks:
        axes.set_xlabel("mm", fontsize=6)
        axes.set_ylabel("mm", fontsize=6)
    else:
        axes.set_xticks([])
        axes.set_yticks([])
    if cut.sides is None:
        return
    shown = len(_SIDES)
    if _ratio(cut) <= _FLAT:
        shown = 2  # Above each other, they need more room than there is.
    for text, side in zip(cut.sides[:shown], _SIDES[:shown], strict=True):
        axes.text(
            side.x,
            side.y,
            text,
            transform=axes.transAxes,
            color="white",
            fontsize=6,
            ha=side.across,
            va=side.along,
            bbox=_SHADED,
        )
