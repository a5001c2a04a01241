"""`lunet viz volume`: any volume, with its label map."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lunet_cli.cli.failure import try_each
from lunet_cli.cli.viz.display import (
    Axis,
    Interactive,
    Level,
    NoColor,
    Output,
    Width,
    axis_number,
    intensity_window,
    open_drawing,
    require_keys,
    require_output,
    save,
)
from lunet_cli.cli.viz.interaction import interact
from lunet_cli.cli.wording import reworded, show_progress
from lunet_cli.errors import EXIT_FAILURE, ConfigError
from lunet_cli.results.words import plural

if TYPE_CHECKING:
    from rich.console import Console

    from lunet_cli.render.terminal.screen import Screen
    from lunet_cli.render.terminal.viewer import Viewer


def volume(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE", help="Any volume that SimpleITK reads; a DICOM series by folder."
        ),
    ],
    labels: Annotated[
        list[Path] | None,
        typer.Option("--label", metavar="FILE", help="Label map of each FILE, in their order."),
    ] = None,
    channel: Annotated[int, typer.Option(metavar="N", min=0, help="Which channel is shown.")] = 0,
    level: Level = None,
    width: Width = None,
    interactive: Interactive = False,
    axis: Annotated[
        Axis | None, typer.Option(help="Which slices to begin with, with --interactive.")
    ] = None,
    output: Output = None,
    no_color: NoColor = False,
) -> None:
    """Draw volumes: three slices at right angles, geometry, histogram, and label volumes in ml."""
    window = intensity_window(level, width)
    if axis is not None and not interactive:
        raise ConfigError("--axis: goes with --interactive; without it, all three are drawn")
    _check(files, labels or [], output, no_color=no_color)
    if interactive:
        require_keys(output)
    # Before a volume is read or a network loaded, which takes a while.
    drawing = open_drawing(output, no_color=no_color)
    beside: list[Path | None] = [None] * len(files)
    if labels:
        beside = [*labels]
    pairs = list(zip(files, beside, strict=True))
    if interactive and drawing is not None:
        console, _ = drawing
        interact(_viewer(pairs, channel, axis or "axial", window), console)
        return

    def show(pair: tuple[Path, Path | None]) -> None:
        path, label = pair
        _show(path, label, channel, window, output=output, drawing=drawing)

    if not try_each(pairs, show):
        raise typer.Exit(EXIT_FAILURE)


def _viewer(
    pairs: list[tuple[Path, Path | None]],
    channel: int,
    axis: Axis,
    window: tuple[float, float] | None,
) -> Viewer:
    from lunet_cli.engine.viewing.volumes import read_volume
    from lunet_cli.render.terminal.viewer import Viewer

    return Viewer(
        [str(path) for path, _ in pairs],
        lambda index: read_volume(*pairs[index], channel=channel)[0],
        axis=axis_number(axis),
        window=window,
        reword=reworded,
    )


def _show(
    path: Path,
    label: Path | None,
    channel: int,
    window: tuple[float, float] | None,
    *,
    output: Path | None,
    drawing: tuple[Console, Screen] | None,
) -> None:
    from lunet_cli.engine.viewing.volumes import read_volume
    from lunet_cli.render.console import make_status_console

    with show_progress(make_status_console()) as on_event:
        found, facts = read_volume(path, label, channel=channel, on_event=on_event)
    cuts = [found.cut(number, found.best_position(number), window) for number in range(3)]
    if output is not None:
        from lunet_cli.render.figures.volume import volume_figure

        save(volume_figure(found, facts, cuts), output)
    if drawing is not None:
        from lunet_cli.render.terminal.volume import draw_volume

        console, screen = drawing
        console.print(draw_volume(found, facts, cuts, screen))


def _check(files: list[Path], labels: list[Path], output: Path | None, *, no_color: bool) -> None:
    if labels and len(labels) != len(files):
        raise ConfigError(
            f"--label: {len(labels)} for {plural(len(files), 'volume')}",
            hint="Give one per FILE, in their order.",
        )
    if output is not None and len(files) > 1:
        raise ConfigError(f"-o {output}: takes one volume, and these are {len(files)}")
    require_output(output, no_color=no_color)
