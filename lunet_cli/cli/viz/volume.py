"""`lunet viz volume`: any volume, with its label map."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lunet_cli.cli.viz.showing import (
    Axis,
    Interactive,
    Level,
    NoColor,
    Output,
    Width,
    axis_number,
    intensity_window,
    leaf,
    open_screen,
    require_keys,
    require_output,
    save,
)
from lunet_cli.errors import ConfigError

if TYPE_CHECKING:
    from lunet_cli.results.views import LabeledVolume


def volume(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Any volume that SimpleITK reads; a DICOM series by folder.")
    ],
    labels: Annotated[
        list[Path] | None, typer.Option("--label", metavar="FILE", help="Label map of each FILE, in their order.")
    ] = None,
    channel: Annotated[int, typer.Option(min=0, help="Which channel is shown.")] = 0,
    level: Level = None,
    width: Width = None,
    interactive: Interactive = False,
    axis: Axis = "axial",
    output: Output = None,
    no_color: NoColor = False,
) -> None:
    """Draw volumes: three slices at right angles, geometry, histogram, and label volumes in ml."""
    window = intensity_window(level, width)
    if labels and len(labels) != len(files):
        raise ConfigError(f"--label: {len(labels)} for {len(files)} volumes", hint="Give one per FILE, in their order.")
    if output is not None and len(files) > 1:
        raise ConfigError(f"-o {output}: takes one volume, and these are {len(files)}")
    require_output(output)
    if interactive:
        require_keys(output)
    if output is None:
        console, screen = open_screen(no_color=no_color)
    from lunet_cli.engine.viewing.volumes import read_volume

    beside: list[Path | None] = [*labels] if labels else [None] * len(files)
    pairs = list(zip(files, beside, strict=True))
    if interactive:
        from lunet_cli.render.terminal.viewer import Viewer

        def load(index: int) -> LabeledVolume:
            return read_volume(*pairs[index], channel=channel)[0]

        leaf(Viewer([str(path) for path in files], load, axis=axis_number(axis), window=window), no_color=no_color)
        return
    for path, label in pairs:
        found, facts = read_volume(path, label, channel=channel)
        cuts = [found.cut(number, found.best_position(number), window) for number in range(3)]
        if output is not None:
            from lunet_cli.render.figures.volume import volume_figure

            save(volume_figure(found, facts, cuts), output)
        else:
            from lunet_cli.render.terminal.volume import draw_volume

            console.print(draw_volume(found, facts, cuts, screen))
