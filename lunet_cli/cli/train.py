"""`lunet train`: from a configuration to a trained network."""

from __future__ import annotations

import shlex
import shutil
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lunet_cli.cli.config_file import ConfigFile, Overrides, read_config, refuse_extras
from lunet_cli.cli.wording import show_progress
from lunet_cli.errors import LunetError
from lunet_cli.results.words import visible

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import Console

    from lunet_cli.config.run import RunConfig
    from lunet_cli.config.visualization import VisualizationConfig
    from lunet_cli.render.curves import Panel
    from lunet_cli.results.training import TrainResult


def train(
    context: typer.Context,
    config_file: ConfigFile,
    overrides: Overrides = None,
    resume: Annotated[
        str | None,
        typer.Option(
            metavar="PATH|auto",
            help="Go on with a checkpoint or run folder; auto: with the run of CONFIG, if there is one.",
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Check everything, run one step, estimate the cost, write nothing."
        ),
    ] = False,
) -> None:
    """Train a network as CONFIG says."""
    refuse_extras(context, config_file)
    config = read_config(config_file, overrides)
    from lunet_cli.render.console import make_console, make_status_console

    program = "lunet" if shutil.which("lunet") else sys.argv[0]
    again = [program, "train", str(config_file), *(f"--set={item}" for item in overrides or ())]
    status = make_status_console()
    if dry_run:
        from lunet_cli.engine.training.dry_run import dry_run as run_dry
        from lunet_cli.render.tables import dry_run_table

        with show_progress(status) as on_event:
            estimate = run_dry(config, on_event=on_event)
        make_console().print(dry_run_table(estimate))
        return
    from lunet_cli.engine.training.train import train as run_training
    from lunet_cli.render.tables import train_table
    from lunet_cli.results.events import WarningIssued

    saved: list[Path] = []

    def save_pictures(result: TrainResult) -> None:
        try:
            saved.extend(_save_pictures(result, config.visualization))
        except LunetError as error:  # A picture must not hide the result.
            on_event(WarningIssued(error.message))

    with show_progress(status) as on_event:
        result = run_training(config, resume=resume, on_event=on_event, on_closing=save_pictures)
    if result.outcome == "interrupted":
        status.print(f"Stopped; the state is saved in {result.run_dir}. Go on with:")
        status.print(f"  {shlex.join([*again, '--resume', 'auto'])}", soft_wrap=True)
        raise typer.Exit(128 + result.signal)
    console = make_console()
    for path in saved:
        typer.echo(visible(path))
    _draw(result, config.visualization, console)
    console.print(train_table(result))
    console.print()
    console.print("Next:")
    for purpose, command in _next_commands(config, result.run_dir, again):
        # Whole lines, whatever the width: they are there to be copied.
        console.print(f"  # {purpose}")
        console.print(f"  {command}", soft_wrap=True)


def _save_pictures(result: TrainResult, config: VisualizationConfig) -> list[Path]:
    """Write the pictures that the configuration asks for into the run folder; return their paths."""
    from lunet_cli.records.files import write_atomically
    from lunet_cli.render.figures.style import write_figure

    figures: dict[str, Figure] = {}
    if _has_curves(result, config):
        from lunet_cli.render.figures.curves import curves_figure

        figures["training_curves.png"] = curves_figure(_panels(result))
    if config.plot_slices and result.slices:
        from lunet_cli.render.figures.slices import slices_figure

        figures["slices.png"] = slices_figure(result.slices)
    paths = []
    for name, figure in figures.items():
        path = result.run_dir / name
        write_atomically(path, partial(write_figure, figure, path=path))
        paths.append(path)
    return paths


def _draw(result: TrainResult, config: VisualizationConfig, console: Console) -> None:
    """Draw what the configuration asks for in the terminal, where there are colours."""
    from rich.text import Text

    from lunet_cli.render.terminal.charts import draw_panels
    from lunet_cli.render.terminal.screen import Screen, has_colors
    from lunet_cli.render.terminal.slices import draw_slice, legend

    screen = Screen(console.width, console.height, colors=has_colors(console))
    if not screen.colors:
        return
    if _has_curves(result, config):
        console.print(draw_panels(_panels(result), screen))
    if config.plot_slices and result.slices:
        for cut in result.slices:
            console.print(Text(cut.caption), draw_slice(cut, screen))
        console.print(legend(result.slices[0].labels, screen, with_errors=True))


def _has_curves(result: TrainResult, config: VisualizationConfig) -> bool:
    return config.plot_training_curves and len(result.history) > 1


def _panels(result: TrainResult) -> list[Panel]:
    from lunet_cli.render.curves import CurveOptions, curve_panels
    from lunet_cli.results.training import TrainingHistory

    course = TrainingHistory(result.run_dir.name, result.history, is_finished=True)
    return curve_panels([course], CurveOptions(quantities=("loss", "dice")))


def _next_commands(config: RunConfig, run_dir: Path, again: list[str]) -> list[tuple[str, str]]:
    more = [item for item in again if not item.startswith("--set=training.epochs=")]
    longer = [*more, f"--set=training.epochs={2 * config.training.epochs}", "--resume", "auto"]
    return [
        ("measure it, case by case", shlex.join([again[0], "eval", str(run_dir)])),
        (
            "leaf through its cases",
            shlex.join([again[0], "viz", "slices", str(run_dir), "--interactive"]),
        ),
        ("read everything about it on one page", shlex.join([again[0], "report", str(run_dir)])),
        (
            "segment other volumes",
            shlex.join([again[0], "predict", str(run_dir), "FOLDER", "-o", "masks"]),
        ),
        ("train on, twice as long", shlex.join(longer)),
        (
            "the configuration that was used",
            shlex.join([again[0], "config", "show", str(run_dir / "config.yaml")]),
        ),
    ]
