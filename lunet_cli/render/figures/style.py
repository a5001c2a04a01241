"""What all figures have in common, and how they become files."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO, Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import Formatter, LogLocator, NullFormatter

from lunet_cli.render.palette import RGB
from lunet_cli.results.words import visible_lines

_FEW_DECADES = 30  # as a factor: with less, an axis has one or two powers of ten
_MOST_COLUMNS = 6
_CHARACTERS = 17  # per inch, in 7 points
FULL_WIDTH = 7.1  # inches: two columns of a journal page
_STYLE: dict[Any, Any] = {
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.5,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    "text.parse_math": False,  # Names of runs and cases are not formulas.
    "pdf.fonttype": 42,  # text that editors can change
    "svg.fonttype": "none",
    "svg.hashsalt": "lunet",  # the same picture gives the same file
}


styled = mpl.rc_context(_STYLE)
"""Decorates what draws a figure: matplotlib looks at its settings again for each part."""


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, in inches, whose parts find their places by themselves."""
    return Figure(figsize=(width, height), layout="constrained")


def legend_columns(names: Iterable[str], width: float) -> int:
    """Columns of a legend in 7 points that find room in `width` inches."""
    longest = max(map(len, names), default=1)
    # Beside a name stand its colour and the space between columns: about six characters.
    return max(1, min(_MOST_COLUMNS, int(width * _CHARACTERS / (longest + 6))))


def log_axis(axes: Axes, which: Literal["x", "y"], style: str | Formatter = "{x:g}") -> None:
    """Make an axis logarithmic, with numbers at powers of ten, and between those if few."""
    axes.set(**{f"{which}scale": "log"})
    axis: Axis = {"x": axes.xaxis, "y": axes.yaxis}[which]
    axis.set_major_formatter(style)
    low, high = sorted(axis.get_view_interval())
    if high >= _FEW_DECADES * low:
        axis.set_minor_formatter(NullFormatter())
        return
    between = [2, 5]
    # Within one decade there may be no power of ten at all.
    if high < 10 * low:
        between = [2, 3, 5, 7]
    axis.set_minor_locator(LogLocator(subs=between))
    axis.set_minor_formatter(style)


@styled
def write_figure(figure: Figure, file: BinaryIO, path: Path) -> None:
    """Write a figure to an open file, in the format that `path` ends with."""
    for text in figure.findobj(Text):
        text.set_text(visible_lines(text.get_text()))
    suffix = path.suffix.lower().removeprefix(".")
    # Without the time of its making, the same picture gives the same file.
    timeless = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    metadata = timeless.get(suffix, {})
    with warnings.catch_warnings():
        # It is drawn as a box, which everyone sees.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure.savefig(file, format=suffix, dpi=200, metadata=metadata)


def unit(color: RGB, alpha: float = 1.0) -> tuple[float, float, float, float]:
    """A colour as matplotlib takes it."""
    red, green, blue = color
    return red / 255, green / 255, blue / 255, alpha
