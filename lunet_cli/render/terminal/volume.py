"""A volume: three slices at right angles, what its file says, its intensities and labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from lunet_cli.render.palette import label_colors
from lunet_cli.render.terminal.screen import Screen, picture
from lunet_cli.render.terminal.slices import entry, legend, overlay_of
from lunet_cli.render.volumes import described
from lunet_cli.results.views import LabeledVolume, Slice, VolumeFacts
from lunet_cli.results.words import visible

_BARS = np.array(list(" ▁▂▃▄▅▆▇█"))
_STEPS = len(_BARS) - 1  # of a bar within one character
_BAR_ROWS = 3
_GAP = 2


def draw_volume(
    volume: LabeledVolume, facts: VolumeFacts, cuts: Sequence[Slice], screen: Screen
) -> RenderableType:
    """All that a terminal can show of a volume."""
    parts: list[RenderableType] = [Text(visible(facts.path), "bold"), draw_orthogonal(cuts, screen)]
    if volume.labels:
        parts.append(legend(volume.labels, screen, with_errors=False))
    parts += [Text(), facts_table(facts), Text(), histogram(facts, screen)]
    if facts.label_ml:
        parts += [Text(), _label_table(facts.label_ml, screen)]
    return Group(*parts)


def draw_orthogonal(cuts: Sequence[Slice], screen: Screen) -> RenderableType:
    """Slices beside each other at one scale, with the labels over them."""
    available = screen.width - _GAP * (len(cuts) - 1)
    heights, widths = zip(*(cut.extent_mm for cut in cuts), strict=True)
    rows_per_mm = max(4, screen.height - 4) / max(heights)
    columns_per_mm = min(available / sum(widths), 2 * rows_per_mm)
    titles, pictures = [], []
    grid = Table.grid(padding=(0, _GAP))
    for cut in cuts:
        height, width = cut.extent_mm
        # A product that is whole but for its rounding is not cut down to the number below.
        rows = max(1, int(height / 2 * columns_per_mm + 1e-6))
        columns = max(1, int(width * columns_per_mm + 1e-6))
        titles.append(Text(_title(cut), "dim"))
        pictures.append(
            picture(cut.image, overlay_of(cut, cut.panels[-1]), screen, (rows, columns))
        )
        # As wide as the picture: a title with a longer line would take the room of the others, and
        # is folded.
        grid.add_column(width=columns, overflow="fold")
    grid.add_row(*titles)
    grid.add_row(*pictures)
    return grid


def _title(cut: Slice) -> str:
    title = f"{cut.axis_name} {cut.position}"
    if cut.sides:
        title += f"\n{cut.sides[0]} left, {cut.sides[2]} top"
    return title


def facts_table(facts: VolumeFacts) -> Table:
    """Geometry and intensities."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    for name, value in described(facts):
        table.add_row(name, Text(value))
    return table


def histogram(facts: VolumeFacts, screen: Screen) -> RenderableType:
    """Voxels per intensity, in three rows of bars over a logarithmic scale."""
    width = min(screen.width, len(facts.histogram))
    shared = -(-len(facts.histogram) // width)  # bins that share a column
    counts = np.add.reduceat(facts.histogram, range(0, len(facts.histogram), shared))
    heights = np.log1p(counts)
    filled = np.rint(heights / (heights.max() or 1.0) * _BAR_ROWS * _STEPS).astype(int)
    lines = ["voxels per intensity, logarithmic"]
    for row in reversed(range(_BAR_ROWS)):
        lines.append("".join(_BARS[(filled - row * _STEPS).clip(0, _STEPS)]))
    low, high = f"{facts.edges[0]:.4g}", f"{facts.edges[-1]:.4g}"
    lines.append(low + high.rjust(max(len(high) + 1, len(filled) - len(low))))
    return Text("\n".join(lines), no_wrap=True)


def _label_table(label_ml: dict[str, float], screen: Screen) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("label")
    table.add_column("ml", justify="right")
    colors = label_colors(len(label_ml))
    for (name, volume_ml), color in zip(label_ml.items(), colors, strict=True):
        label = Text(name)
        if screen.colors:
            label = entry(name, color, "", screen)
        table.add_row(label, f"{volume_ml:.3f}")
    return table
