"""`lunet viz slices`: cases beside what a network makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lunet_cli.cli.failure import try_each
from lunet_cli.cli.options import Architecture, Data, Model, Split, Threads
from lunet_cli.cli.prediction import Device
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

if TYPE_CHECKING:
    from rich.console import Console

    from lunet_cli.engine.viewing.cases import CaseViews
    from lunet_cli.render.terminal.screen import Screen
    from lunet_cli.render.terminal.viewer import Viewer
    from lunet_cli.results.views import LabeledVolume, Slice

# Three rows of four in a picture, two of six in a wide terminal.
_NUM_IN_MONTAGE = 12


def slices(
    target: Model,
    cases: Annotated[
        list[str] | None,
        typer.Option(
            "--case", metavar="ID", help="Which case; repeatable. The first if not given."
        ),
    ] = None,
    axis: Annotated[
        Axis, typer.Option(help="Which slices; by number: across the axis z, y or x.")
    ] = "axial",
    where: Annotated[
        str,
        typer.Option(
            "--slice",
            metavar="N|best|middle|montage",
            help="Which slice; best: with the most reference. With -i, where to begin "
            "(the last one of fewer).",
        ),
    ] = "best",
    level: Level = None,
    width: Width = None,
    data: Data = None,
    split: Split = None,
    interactive: Interactive = False,
    architecture: Architecture = None,
    device: Device = "auto",
    threads: Threads = None,
    output: Output = None,
    no_color: NoColor = False,
) -> None:
    """Draw cases: the image, the reference, the prediction, and where they differ."""
    number, window = axis_number(axis), intensity_window(level, width)
    _check(where, output, no_color=no_color, interactive=interactive)
    # Before a volume is read or a network loaded, which takes a while.
    drawing = open_drawing(output, no_color=no_color)
    from lunet_cli.config.options import PredictionOptions
    from lunet_cli.engine.inference.predictor import Predictor, set_up_process
    from lunet_cli.engine.viewing.cases import CaseViews
    from lunet_cli.render.console import make_status_console

    set_up_process(threads)
    options = PredictionOptions(device=device)
    predictor = Predictor.load([target], architecture=architecture, options=options)
    views = CaseViews(predictor, data=data, split=split)
    # All of them, before the first is segmented.
    for name in cases or ():
        views.require(name)
    if interactive and drawing is not None:
        console, _ = drawing
        interact(_viewer(views, cases or views.names, number, where, window), console)
        return
    cuts: list[list[Slice]] = []
    with show_progress(make_status_console()) as on_event:

        def cut(name: str) -> None:
            volume = views.load(name, on_event)
            places = _places(volume, number, where)
            cuts.append([volume.cut(number, place, window) for place in places])

        all_cut = try_each(cases or views.names[:1], cut)
    if cuts:
        _show(cuts, output, drawing, is_montage=where == "montage")
    if not all_cut:
        raise typer.Exit(EXIT_FAILURE)


def _viewer(
    views: CaseViews,
    cases: Sequence[str],
    axis: int,
    where: str,
    window: tuple[float, float] | None,
) -> Viewer:
    from lunet_cli.render.terminal.viewer import Viewer

    return Viewer(
        cases,
        lambda index: views.load(cases[index]),
        axis=axis,
        where=where,
        window=window,
        reword=reworded,
    )


def _check(where: str, output: Path | None, *, no_color: bool, interactive: bool) -> None:
    if where not in ("best", "middle", "montage") and not where.isdecimal():
        raise ConfigError(
            f"--slice {where}: is not a slice", hint="Write a number, best, middle or montage."
        )
    require_output(output, no_color=no_color)
    if interactive:
        require_keys(output)
        if where == "montage":
            raise ConfigError("--slice montage and --interactive: choose one")


def _show(
    cuts: list[list[Slice]],
    output: Path | None,
    drawing: tuple[Console, Screen] | None,
    *,
    is_montage: bool,
) -> None:
    if output is not None:
        from lunet_cli.render.figures.slices import montage_figure, slices_figure

        draw = slices_figure
        if is_montage:
            draw = montage_figure
        save(draw([one for of_case in cuts for one in of_case]), output)
    if drawing is None:
        return
    from lunet_cli.render.terminal.slices import case_heading, draw_montage, draw_slice, legend

    console, screen = drawing
    for of_case in cuts:
        console.print(case_heading(of_case))
        if is_montage:
            console.print(draw_montage(of_case, screen))
        else:
            console.print(draw_slice(of_case[0], screen))
    first = cuts[0][0]
    console.print(legend(first.labels, screen, with_errors=first.errors() is not None))


def _places(volume: LabeledVolume, axis: int, where: str) -> list[int]:
    from lunet_cli.results.views import AXES

    number = int(volume.image.shape[axis])
    if where == "montage":
        return volume.montage_positions(axis, _NUM_IN_MONTAGE)
    if where == "best":
        return [volume.best_position(axis)]
    if where == "middle":
        return [number // 2]
    if int(where) >= number:
        raise ConfigError(
            f"--slice {where}: {volume.name} has the {AXES[axis]} slices 0 to {number - 1}"
        )
    return [int(where)]
