"""A volume: three slices at right angles, its geometry, intensities and labels."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from lunet_cli.render.figures.slices import add_legend, draw_on, legend_rows
from lunet_cli.render.figures.style import FULL_WIDTH, log_axis, new_figure, styled
from lunet_cli.render.volumes import described
from lunet_cli.results.views import LabeledVolume, Slice, VolumeFacts

_BELOW, _TALLEST = 2.2, 6.0  # inches
_COLUMNS = 60  # of the facts
_ROOM = 0.5  # for what stands around the slices, so that their widths decide on the scale


@styled
def volume_figure(volume: LabeledVolume, facts: VolumeFacts, cuts: Sequence[Slice]) -> Figure:
    """Three slices above, the facts and the histogram below."""
    heights, widths = zip(*(cut.extent_mm for cut in cuts), strict=True)
    tallest = min(_TALLEST, FULL_WIDTH * max(heights) / sum(widths)) + _ROOM
    legend = [f"{name}: {ml:.3f} ml" for name, ml in (facts.label_ml or {}).items()]
    figure = new_figure(FULL_WIDTH, tallest + _BELOW + 0.2 * legend_rows(legend, FULL_WIDTH))
    figure.suptitle(volume.name, x=0.01, ha="left", fontsize=9)
    parts: Any = figure.subfigures(2, 1, height_ratios=(tallest, _BELOW))
    above, below = parts
    for cut, axes in zip(cuts, above.subplots(1, 3, width_ratios=widths), strict=True):
        # The last one shows most: the labels, where there are any.
        draw_on(axes, cut, cut.panels[-1], with_ticks=True)
        axes.set_title(f"{cut.axis_name} {cut.position}", loc="left", fontsize=7)
    words, axes = below.subplots(1, 2)
    words.axis("off")
    lines = []
    for name, value in described(facts):
        lines.append(textwrap.fill(f"{name}: {value}", _COLUMNS, subsequent_indent="   "))
    words.text(0, 1, "\n".join(lines), va="top", fontsize=7, transform=words.transAxes)
    axes.stairs(facts.histogram, facts.edges, fill=True, color="0.5")
    axes.set_ylim(0.7, 2 * max(facts.histogram))  # A bar of one voxel is still seen.
    log_axis(axes, "y")
    axes.set(xlabel="stored intensity", ylabel="voxels")
    add_legend(figure, legend, with_errors=False)
    return figure
