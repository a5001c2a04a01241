"""A volume: three slices at right angles, what its file says, its intensities and labels."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.style import Style
from rich.table import Column, Table
from rich.text import Text

from lunet_cli.render.palette import label_colors, to_hex
from lunet_cli.render.terminal.screen import Screen, picture
from lunet_cli.render.terminal.slices import legend, overlay_of
from lunet_cli.render.volumes import described
from lunet_cli.results.views import LabeledVolume, Slice, VolumeFacts
from lunet_cli.results.words import visible

_BARS = " ▁▂▃▄▅▆▇█"
_GAP = 2


def draw_volume(
    volume: LabeledVolume, facts: VolumeFacts, cuts: Sequence[Slice], screen: Screen
) -> RenderableType:
    """All that a terminal can show of a volume."""
    parts: list[RenderableType] = [Text(visible(facts.path), "bold"), draw_orthogonal(cuts, screen)]
    if volume.labels:
        parts.append(legend(volume.labels, screen, with_errors=False))
    return Group(
        *parts,
        Text(),
        facts_table(facts),
        Text(),
        histogram(facts, screen),
        *_label_rows(facts, screen),
    )


def draw_orthogonal(cuts: Sequence[Slice], screen: Screen) -> RenderableType:
    """Slices beside each other at one scale, with the labels over them."""
    available = screen.width - _GAP * (len(cuts) - 1)
    total_mm = sum(cut.extent_mm[1] for cut in cuts)
    tallest = max(cut.extent_mm[0] for cut in cuts)
    columns_per_mm = min(available / total_mm, 2 * max(4, screen.height - 4) / tallest)
    titles, pictures = [], []
    columns = []
    for cut in cuts:
        height, width = cut.extent_mm
        size = (
            max(1, int(height * columns_per_mm / 2 + 1e-6)),
            max(1, int(width * columns_per_mm + 1e-6)),
        )
        titles.append(Text(f"{cut.axis_name} {cut.position}{_sides(cut)}", "dim"))
        pictures.append(picture(cut.image, overlay_of(cut, cut.panels[-1]), screen, size))
        # As wide as the picture: a title with a longer line would take the room of the others, and
        # is folded.
        columns.append(Column(width=size[1], overflow="fold"))
    grid = Table.grid(*columns, padding=(0, _GAP))
    grid.add_row(*titles)
    grid.add_row(*pictures)
    return grid


def _sides(cut: Slice) -> str:
    return f"\n{cut.sides[0]} left, {cut.sides[2]} top" if cut.sides else ""


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
    bins = -(
        -len(facts.histogram) // min(screen.width, len(facts.histogram))
    )  # that share a column
    counts = [
        sum(facts.histogram[first : first + bins]) for first in range(0, len(facts.histogram), bins)
    ]
    heights = [math.log1p(count) for count in counts]
    top = max(heights) or 1.0
    levels = 3 * (len(_BARS) - 1)
    filled = [round(height / top * levels) for height in heights]
    lines = [
        "".join(
            _BARS[min(max(value - row * (len(_BARS) - 1), 0), len(_BARS) - 1)] for value in filled
        )
        for row in (2, 1, 0)
    ]
    low, high = f"{facts.edges[0]:.4g}", f"{facts.edges[-1]:.4g}"
    axis = low + high.rjust(max(len(high) + 1, len(filled) - len(low)))
    return Text("\n".join(["voxels per intensity, logarithmic", *lines, axis]), no_wrap=True)


def _label_rows(facts: VolumeFacts, screen: Screen) -> list[RenderableType]:
    if not facts.label_ml:
        return []
    table = Table(box=None, pad_edge=False)
    table.add_column("label")
    table.add_column("ml", justify="right")
    for (name, volume_ml), color in zip(
        facts.label_ml.items(), label_colors(len(facts.label_ml)), strict=True
    ):
        table.add_row(
            Text(
                f"■ {name}" if screen.colors else name,
                Style(color=to_hex(color)) if screen.colors else "",
            ),
            f"{volume_ml:.3f}",
        )
    return [Text(), table]
