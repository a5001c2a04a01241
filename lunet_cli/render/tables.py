"""Results as tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from lunet_cli.results import DryRunResult, TrainResult, format_seconds


def presets_table(presets: Sequence[dict[str, Any]]) -> Table:
    """Presets as rows."""
    table = Table(title=f"{len(presets)} presets", title_justify="left", box=None, pad_edge=False)
    table.add_column("preset", style="bold", no_wrap=True)
    table.add_column("family")
    for name in ("levels", "channels per level", "convs per block", "parameters"):
        table.add_column(name, justify="left" if name == "channels per level" else "right")
    for preset in presets:
        table.add_row(
            preset["name"],
            preset["family"],
            str(preset["levels"]),
            " ".join(map(str, preset["channels"])),
            str(preset["convs_per_block"]),
            f"{preset['parameters']:,}",
        )
    return table


def preset_levels(preset: dict[str, Any], levels: Sequence[dict[str, Any]]) -> RenderableType:
    """One preset, level by level, for an input of 64 x 64 x 64 voxels."""
    table = Table(box=None, pad_edge=False)
    for name in ("level", "channels", "voxels", "parameters", "share", "conv GFLOP"):
        table.add_column(name, justify="right")
    for level in levels:
        table.add_row(
            str(level["level"]),
            str(level["channels"]),
            f"{level['edge']}^3",
            f"{level['parameters']:,}",
            f"{level['parameters'] / preset['parameters']:.0%}",
            f"{level['flops'] / 1e9:.3f}",
        )
    table.add_section()
    table.add_row("all", "", "", f"{preset['parameters']:,}", "", f"{preset['conv_flops_at_64'] / 1e9:.3f}")
    head = Text.assemble(
        (preset["name"], "bold"),
        f": {preset['family']}, {preset['levels']} levels, {preset['convs_per_block']} convolutions per block, "
        "one image and one output channel, input 64 x 64 x 64",
    )
    yaml = Text(f"model:\n  architecture: {preset['name']}")
    return Group(head, Padding(table, (1, 0)), Text("In a configuration:"), Padding(yaml, (0, 0, 0, 2)))


def train_table(result: TrainResult) -> RenderableType:
    """How a training ended."""
    title = Text(f"\n{result.architecture}, {result.num_parameters:,} parameters: {result.outcome}", style="bold")
    table = _facts()
    if result.best is not None:
        table.add_row("best epoch", f"{result.best.epoch} of {len(result.history)}")
        table.add_row("validation Dice", Text(f"{result.best.val_dice:.4f}", style="bold green"))
        if len(result.best.val_dice_per_label) > 1:
            for name, value in result.best.val_dice_per_label.items():
                table.add_row(f"  {name}", f"{value:.4f}")
    for name, surfaces in result.hausdorff95.items():
        mean = "undefined" if math.isnan(surfaces.mean_mm) else f"{surfaces.mean_mm:.2f} mm"
        table.add_row(f"HD95 {name}", f"{mean} ({surfaces.num_undefined} undefined)")
    if result.latency_ms is not None:
        table.add_row("forward pass", f"{result.latency_ms:.1f} ms")
    table.add_row("time", format_seconds(result.seconds))
    table.add_row("run folder", str(result.run_dir))
    return Group(title, table)


def dry_run_table(result: DryRunResult) -> RenderableType:
    """What a training would cost."""
    title = Text(f"{result.architecture}, {result.num_parameters:,} parameters: dry run, nothing was written", "bold")
    table = _facts()
    table.add_row("cases", f"{result.num_train} training, {result.num_val} validation")
    table.add_row("patch", f"{' x '.join(map(str, result.patch_size))} voxels (z, y, x), {result.batch_size} per step")
    table.add_row("computing in", result.plan)
    table.add_row("loss of the first step", f"{result.loss:.4f}")
    table.add_row("memory of a step", f"{result.total_mib:,.0f} MiB, of which activations {result.activation_mib:,.0f}")
    table.add_row("memory of all volumes", f"{result.cache_mib:,.0f} MiB")
    table.add_row("time per epoch", f"about {result.epoch_seconds:.1f} s")
    total = format_seconds(result.epoch_seconds * result.num_epochs)
    table.add_row("time in all", f"about {total} for {result.num_epochs} epochs")
    return Group(title, table)


def _facts() -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    return table
