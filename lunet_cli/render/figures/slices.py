"""Slices of cases, in millimetres, with contours."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke

from lunet_cli.render.figures.style import FULL_WIDTH, legend_columns, new_figure, styled, unit
from lunet_cli.render.palette import ERRORS, LABEL_OPACITY, REFERENCE_COLOR, RGB, label_colors
from lunet_cli.results.views import Slice

_MONTAGE_COLUMNS = 4
_LEGEND_HEIGHT = 0.25
_AROUND = 0.75  # inches above and below a row, for titles and ticks
_HEADING, _LINE = 15, 0.14  # characters per inch, and inches per line, in 8 points
_FLAT = 0.25  # height by width
_PARTS = 4  # of a voxel, along each edge
_SHADED = {
    "facecolor": (0, 0, 0, 0.5),
    "edgecolor": "none",
    "pad": 0.8,
}  # behind white words on a white image


@styled
def slices_figure(cuts: Sequence[Slice]) -> Figure:
    """A row per slice: the image, the reference, the prediction, and where they differ."""
    columns = len(cuts[0].panels)
    width = FULL_WIDTH / 4 * columns
    headings = [textwrap.fill(cut.heading, int(width * _HEADING)) for cut in cuts]
    heights = [
        FULL_WIDTH / 4 * _ratio(cut) + _AROUND + _LINE * heading.count("\n")
        for cut, heading in zip(cuts, headings, strict=True)
    ]
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
    figure = new_figure(
        size * columns,
        rows * (size * _ratio(cuts[0]) + 0.3)
        + _LEGEND_HEIGHT * legend_rows(cuts[0].labels, size * columns),
    )
    first = {cut.name: cut.position for cut in reversed(cuts)}
    figure.suptitle(f"{cuts[0].axis_name} slices", fontsize=8)
    for place, cut in enumerate(cuts, start=1):
        axes = figure.add_subplot(rows, columns, place)
        draw_on(axes, cut, "montage", with_ticks=False)
        if place == 1:
            _add_scale_bar(axes, cut)
        axes.set_title(
            f"{cut.name}, slice {cut.position}"
            if cut.position == first[cut.name]
            else str(cut.position),
            loc="left",
            fontsize=7,
        )
    both = cuts[0].reference is not None and cuts[0].prediction is not None
    add_legend(figure, cuts[0].labels, with_errors=False, with_lines=both)
    return figure


def draw_on(axes: Axes, cut: Slice, panel: str, *, with_ticks: bool) -> None:
    """One panel of a slice: `image`, `reference`, `prediction`, `error` or `montage`."""
    height, width = cut.extent_mm
    extent = (0.0, width, height, 0.0)
    axes.imshow(
        cut.image,
        cmap="gray",
        vmin=0,
        vmax=1,
        extent=extent,
        interpolation="nearest",
        aspect="equal",
    )
    colors = label_colors(len(cut.labels))
    if panel in ("reference", "prediction"):
        values = cut.reference if panel == "reference" else cut.prediction
        assert values is not None
        _fill(axes, values, dict(enumerate(colors, start=1)), extent, LABEL_OPACITY)
        _contour(axes, cut, values, colors)
    elif panel == "montage":
        for values, style in (
            (cut.reference, "-"),
            (cut.prediction, "--" if cut.reference is not None else "-"),
        ):
            if values is not None:
                _contour(axes, cut, values, colors, style)
    elif panel == "error":
        errors = cut.errors()
        assert errors is not None
        assert cut.reference is not None
        _fill(axes, errors, {value: one.color for value, one in ERRORS.items()}, extent, 0.9)
        _contour(axes, cut, (cut.reference > 0).astype(np.uint8), [REFERENCE_COLOR])
    _finish(axes, cut, with_ticks=with_ticks)


def add_legend(
    figure: Figure, labels: Sequence[str], *, with_errors: bool, with_lines: bool = False
) -> None:
    """What the colours mean, below everything."""
    handles: list[Patch | Line2D] = [
        Patch(color=unit(color), label=name)
        for name, color in zip(labels, label_colors(len(labels)), strict=True)
    ]
    if with_errors:
        handles += [Patch(color=unit(one.color), label=one.name) for one in ERRORS.values()]
        handles.append(Line2D([], [], color=unit(REFERENCE_COLOR), label="reference"))
    if with_lines:
        handles.append(Line2D([], [], color="black", linestyle="-", label="reference"))
        handles.append(Line2D([], [], color="black", linestyle="--", label="prediction"))
    if not handles:
        return
    columns = legend_columns(
        [str(handle.get_label()) for handle in handles], figure.bbox.width / figure.get_dpi()
    )
    figure.legend(
        handles=handles, loc="outside lower center", ncols=min(columns, len(handles)), fontsize=7
    )


def _add_scale_bar(axes: Axes, cut: Slice) -> None:
    """A round number of millimetres, at most a third of the picture, in its lower corner."""
    height, width = cut.extent_mm
    length = max(mm for mm in (1, 2, 5, 10, 20, 50, 100, 200) if mm <= max(1.0, width / 3))
    left, bottom = 0.04 * width, 0.95 * height
    bar = [withStroke(linewidth=3, foreground="black")]
    axes.plot([left, left + length], [bottom, bottom], color="white", linewidth=2, path_effects=bar)
    words = f"{length} mm"
    axes.text(
        left, bottom - 0.02 * height, words, color="white", fontsize=6, va="bottom", bbox=_SHADED
    )


def legend_rows(labels: Sequence[str], width: float) -> int:
    """Rows that a legend takes in `width` inches, with four entries for errors."""
    return -(
        -(len(labels) + 4)
        // legend_columns([*labels, *(one.name for one in ERRORS.values())], width)
    )


def _ratio(cut: Slice) -> float:
    height, width = cut.extent_mm
    return height / width


def _fill(
    axes: Axes,
    values: npt.NDArray[np.unsignedinteger],
    colors: dict[int, RGB],
    extent: tuple[float, float, float, float],
    alpha: float,
) -> None:
    layer = np.zeros((*values.shape, 4))
    for value, color in colors.items():
        layer[values == value] = unit(color, alpha)
    axes.imshow(layer, extent=extent, interpolation="nearest", aspect="equal")


def _contour(
    axes: Axes,
    cut: Slice,
    values: npt.NDArray[np.unsignedinteger],
    colors: Sequence[RGB],
    style: str = "-",
) -> None:
    """Lines around the voxels of each label, along their edges."""
    for value, color in enumerate(colors, start=1):
        inside = values == value
        rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
        if not len(rows):
            continue
        top, left = int(rows[0]), int(columns[0])
        # Contours cut corners; of small parts of voxels, they cut little.
        part = np.repeat(
            np.repeat(inside[top : rows[-1] + 1, left : columns[-1] + 1], _PARTS, axis=0),
            _PARTS,
            axis=1,
        )
        part = np.pad(part, 1)
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
    across, along = (
        cut.sides[:2],
        cut.sides[2:] if _ratio(cut) > _FLAT else (),
    )  # Above each other, they need room.
    places = ((0.02, 0.5), (0.98, 0.5), (0.5, 0.98), (0.5, 0.02))
    for text, (x, y) in zip((*across, *along), places, strict=False):
        axes.text(
            x,
            y,
            text,
            transform=axes.transAxes,
            color="white",
            fontsize=6,
            ha="left" if x < 0.1 else "right" if x > 0.9 else "center",
            va="top" if y > 0.9 else "bottom" if y < 0.1 else "center",
            bbox=_SHADED,
        )
