"""A volume: three slices at right angles, its geometry, intensities and labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from lunet_cli.render.figures.slices import add_legend, draw_on, legend_rows
from lunet_cli.render.figures.style import FULL_WIDTH, new_figure, styled
from lunet_cli.render.volumes import described
from lunet_cli.results.views import AXES, LabeledVolume, Slice, VolumeFacts

_BELOW = 2.2  # inches
_ROOM = 0.5  # for what stands around the slices, so that their widths decide on the scale


@styled
def volume_figure(volume: LabeledVolume, facts: VolumeFacts, cuts: Sequence[Slice]) -> Figure:
    """Three slices above, the facts and the histogram below."""
    widths = [cut.extent_mm[1] for cut in cuts]
    tallest = FULL_WIDTH * max(cut.extent_mm[0] for cut in cuts) / sum(widths) + _ROOM
    figure = new_figure(FULL_WIDTH, tallest + _BELOW + 0.2 * legend_rows(volume.labels))
    parts: Any = figure.subfigures(2, 1, height_ratios=(tallest, _BELOW))
    above, below = parts
    for cut, axes in zip(cuts, above.subplots(1, 3, width_ratios=widths), strict=True):
        draw_on(axes, cut, "image" if cut.reference is None else "reference", with_ticks=True)
        axes.set_title(f"{AXES[cut.axis]} {cut.position}", loc="left", fontsize=7)
    words, axes = below.subplots(1, 2)
    words.axis("off")
    lines = [f"{name}: {value}" for name, value in described(facts) if name != "intensities"]
    words.text(0, 1, "\n".join([volume.name, "", *lines]), va="top", fontsize=7, transform=words.transAxes)
    axes.stairs(facts.histogram, facts.edges, fill=True, color="0.5")
    axes.set_yscale("log")
    axes.set(xlabel="stored intensity", ylabel="voxels")
    add_legend(figure, [f"{name}: {ml:.3f} ml" for name, ml in (facts.label_ml or {}).items()], with_errors=False)
    return figure
