"""Named networks as tables."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from lunet_cli.config.network_cost import count_conv_flops, count_parameters, level_costs
from lunet_cli.config.presets import Preset
from lunet_cli.results.words import plural

# Of the cube that FLOPs are told for: that of the published figures (arXiv:2512.03834).
_EDGE = 64


def presets_table(presets: Sequence[Preset]) -> Table:
    """Presets as rows."""
    title = plural(len(presets), "preset")
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("preset", style="bold", no_wrap=True)
    table.add_column("family")
    table.add_column("levels", justify="right")
    table.add_column("channels per level")
    table.add_column("convs per block", justify="right")
    table.add_column("parameters", justify="right")
    for preset in presets:
        spec = preset.spec
        table.add_row(
            preset.name,
            preset.family,
            str(spec.num_levels),
            " ".join(map(str, spec.channels)),
            str(spec.convs_per_block),
            f"{count_parameters(spec):,}",
        )
    return table


def preset_levels(preset: Preset) -> RenderableType:
    """One preset, level by level."""
    spec = preset.spec
    total = count_parameters(spec)
    table = Table(box=None, pad_edge=False)
    for name in ("level", "channels", "voxels", "parameters", "share", "conv GFLOP"):
        table.add_column(name, justify="right")
    size = (_EDGE, _EDGE, _EDGE)
    for cost in level_costs(spec, size):
        table.add_row(
            str(cost.level),
            str(cost.channels),
            f"{_EDGE >> cost.level}^3",
            f"{cost.parameters:,}",
            f"{cost.parameters / total:.0%}",
            f"{cost.flops / 1e9:.3f}",
        )
    table.add_section()
    gflop = count_conv_flops(spec, size) / 1e9
    table.add_row("all", "", "", f"{total:,}", "", f"{gflop:.3f}")
    head = Text.assemble(
        (preset.name, "bold"),
        f": {preset.family}, {spec.num_levels} levels, {spec.convs_per_block} convolutions per"
        f" block, one image and one output channel, input {_EDGE} x {_EDGE} x {_EDGE}",
    )
    yaml = Text(f"model:\n  architecture: {preset.name}")
    below = (Text("In a configuration:"), Padding(yaml, (0, 0, 0, 2)))
    return Group(head, Padding(table, (1, 0)), *below)
