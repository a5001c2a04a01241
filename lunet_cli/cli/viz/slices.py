"""`lunet viz slices`: cases beside what a network makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lunet_cli.cli.failure import try_each
from lunet_cli.cli.options import Architecture, Data, Split, Threads
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
    leaf,
    open_screen,
    require_keys,
    require_output,
    save,
)
from lunet_cli.cli.wording import show_progress
from lunet_cli.errors import EXIT_FAILURE, ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from lunet_cli.render.terminal.screen import Screen
    from lunet_cli.results.views import LabeledVolume, Slice

_NUM_IN_MONTAGE = 12


def slices(
    target: Annotated[Path, typer.Argument(metavar="RUN|CHECKPOINT", help="What predicts.")],
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
            help="Which slice; best: with the most reference. With -i, where to begin (the last one of fewer).",
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
    """Draw cases: the image, the reference, the prediction, and false negatives and false positives."""
    number, window = axis_number(axis), intensity_window(level, width)
    _check(where, output, no_color=no_color, interactive=interactive)
    drawing = open_screen(no_color=no_color) if output is None else None
    from lunet_cli.config.options import PredictionOptions
    from lunet_cli.engine.inference.predictor import Predictor, set_up_process
    from lunet_cli.engine.viewing.cases import CaseViews
    from lunet_cli.render.console import make_status_console

    set_up_process(threads)
    predictor = Predictor.load(
        [target], architecture=architecture, options=PredictionOptions(device=device)
    )
    views = CaseViews(predictor, data=data, split=split)
    for name in cases or ():
        views.require(name)
    if interactive:
        from lunet_cli.render.terminal.viewer import Viewer

        shown = cases or views.names
        viewer = Viewer(
            shown, lambda i: views.load(shown[i]), axis=number, where=where, window=window
        )
        leaf(viewer, no_color=no_color)
        return
    cuts: list[list[Slice]] = []
    with show_progress(make_status_console()) as on_event:

        def cut(name: str) -> None:
            volume = views.load(name, on_event)
            cuts.append(
                [volume.cut(number, place, window) for place in _places(volume, number, where)]
            )

        all_cut = try_each(cases or views.names[:1], cut)
    if cuts:
        _show(cuts, output, drawing, is_montage=where == "montage")
    if not all_cut:
        raise typer.Exit(EXIT_FAILURE)


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

        every = [one for of_case in cuts for one in of_case]
        save(montage_figure(every) if is_montage else slices_figure(every), output)
    if drawing is None:
        return
    from lunet_cli.render.terminal.slices import case_heading, draw_montage, draw_slice, legend

    console, screen = drawing
    for of_case in cuts:
        console.print(case_heading(of_case))
        console.print(
            draw_montage(of_case, screen) if is_montage else draw_slice(of_case[0], screen)
        )
    console.print(legend(cuts[0][0].labels, screen, with_errors=cuts[0][0].errors() is not None))


def _places(volume: LabeledVolume, axis: int, where: str) -> list[int]:
    from lunet_cli.results.views import AXES

    number = int(volume.image.shape[axis])
    if where == "montage":
        return volume.montage_positions(axis, _NUM_IN_MONTAGE)
    if where in ("best", "middle"):
        return [volume.best_position(axis) if where == "best" else number // 2]
    if int(where) >= number:
        raise ConfigError(
            f"--slice {where}: {volume.name} has the {AXES[axis]} slices 0 to {number - 1}"
        )
    return [int(where)]
