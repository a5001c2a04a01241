"""`lunet train`: from a configuration to a trained network."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lunet_cli.cli.config_file import Overrides, read_config, refuse_extras
from lunet_cli.cli.following import (
    Following,
    launched_program,
    print_next,
    program,
    tell_how_to_go_on,
)
from lunet_cli.cli.wording import show_progress
from lunet_cli.errors import ConfigError, LunetError
from lunet_cli.results.words import plural, visible

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.figure import Figure
    from rich.console import Console

    from lunet_cli.config.run import RunConfig
    from lunet_cli.config.visualization import VisualizationConfig
    from lunet_cli.render.curves import Panel
    from lunet_cli.results.events import Event
    from lunet_cli.results.training import TrainResult


def train(
    context: typer.Context,
    config_file: Annotated[
        Path | None,
        typer.Argument(
            metavar="CONFIG",
            help="YAML configuration, or the name of a shipped one, such as quickstart; not with "
            "--data.",
        ),
    ] = None,
    overrides: Overrides = None,
    resume: Annotated[
        str | None,
        typer.Option(
            metavar="PATH|auto",
            help="Go on with a checkpoint or run folder; auto: with the run of CONFIG, if there is "
            "one.",
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Check everything, run one step, estimate the cost, write nothing."
        ),
    ] = False,
    fold: Annotated[
        str | None,
        typer.Option(
            metavar="N|all",
            help="Cross-validate: train this fold, or one after the other, each in a folder below "
            "the run folder, and measure every case.",
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="A labelled data set: plan its training, then train."),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            metavar="M", help="With --data: minutes of the whole training; 30 if not given."
        ),
    ] = None,
    architecture: Annotated[
        str | None,
        typer.Option(
            "--arch", metavar="NAME", help="With --data: preset; the plan chooses if not given."
        ),
    ] = None,
) -> None:
    """Train a network as CONFIG says, or as a plan for the data set DIR does."""
    refuse_extras(context, config_file)
    if data is not None:
        _require_alone(config_file, fold, data)
        config_file = _planned(
            data, minutes, architecture, overrides, is_resumed=resume is not None
        )
    elif minutes is not None or architecture is not None:
        raise ConfigError("--minutes and --arch are for --data; set keys of CONFIG with --set")
    elif config_file is None:
        raise ConfigError(
            "nothing says what is trained",
            hint="Name a configuration, or a folder of labelled volumes: --data DIR",
        )
    config = read_config(config_file, overrides)
    command = _this_command(config_file, overrides)
    if fold is not None:
        _cross_validate(config, fold, resume, [*command, "--fold", fold], dry_run=dry_run)
        return
    if dry_run:
        show_dry_run(config)
        return
    train_and_show(config, resume, command)


def train_and_show(config: RunConfig, resume: str | None, command: list[str]) -> None:
    """Train, and print what came out and what one may do next.

    Args:
        config: What is trained.
        resume: What it goes on with.
        command: The command line that began it, without `--resume`.
    """
    pictures: list[Path] = []
    result = _train(config, resume, pictures)
    if os.environ.get("WORLD_SIZE", "1") != "1" and os.environ.get("RANK", "0") != "0":
        raise typer.Exit(128 + result.signal if result.outcome == "interrupted" else 0)
    if result.outcome == "interrupted":
        saved = f"the state is saved in {result.run_dir}"
        tell_how_to_go_on(saved, [*command, "--resume", "auto"])
        raise typer.Exit(128 + result.signal)
    for path in pictures:
        typer.echo(visible(path))
    _show(result, config, command)


def _require_alone(config_file: Path | None, fold: str | None, data: Path) -> None:
    """Raise if --data is given beside what does not go with it."""
    if config_file is not None:
        raise ConfigError("CONFIG and --data are two ways to say what is trained; keep one")
    if fold is not None:
        raise ConfigError(
            "--fold is for a configuration, since each fold takes the time of a plan",
            hint=f"Write one first: lunet data plan {data} -o my.yaml --minutes 10",
        )


def _planned(
    data: Path,
    minutes: float | None,
    architecture: str | None,
    overrides: list[str] | None,
    *,
    is_resumed: bool,
) -> Path:
    """The plan for a data set in its run folder; a training that goes on has one there."""
    from lunet_cli.cli.data.plan import USUAL_PLAN, plan_options

    if minutes is None:
        minutes = USUAL_PLAN.minutes
    options = plan_options(minutes, architecture, None)
    from lunet_cli.config.load import load_config
    from lunet_cli.engine.run_folder import RunFolder
    from lunet_cli.engine.training.planning import plan, planned_name
    from lunet_cli.engine.training.start import require_one_process
    from lunet_cli.render.console import make_status_console

    require_one_process()
    named = load_config(None, [f"experiment.name={planned_name(data)}", *(overrides or ())])
    folder = RunFolder.of(named)
    if is_resumed and folder.plan.exists():
        return folder.plan
    folder.require_free()
    folder.require_writable()
    with show_progress(make_status_console()) as on_event:
        planned = plan(data, options=options, split_file=folder.planned_split, on_event=on_event)
    folder.path.mkdir(parents=True, exist_ok=True)
    planned.write(folder.plan)
    training = planned.config.training
    typer.echo(
        f"planned: {planned.config.model.architecture}, {plural(training.epochs, 'epoch')} in "
        f"{options.minutes:g} minutes; why, is in {visible(folder.plan)}",
        err=True,
    )
    return folder.plan


def show_dry_run(config: RunConfig) -> None:
    """Check what a training needs, and print what it would cost."""
    from lunet_cli.engine.training.dry_run import dry_run
    from lunet_cli.render.console import make_console, make_status_console
    from lunet_cli.render.tables import dry_run_table

    with show_progress(make_status_console()) as on_event:
        estimate = dry_run(config, on_event=on_event)
    make_console().print(dry_run_table(estimate))


def _cross_validate(
    config: RunConfig, fold: str, resume: str | None, command: list[str], *, dry_run: bool
) -> None:
    """Train folds, and show all cases once all folds are done."""
    if not (fold == "all" or fold.isdigit()):
        raise ConfigError(f"--fold {fold}: write a number, or all")
    if resume not in (None, "auto"):
        raise ConfigError("--fold goes on with its own folds: --resume auto")
    from lunet_cli.cli.measuring import print_result
    from lunet_cli.engine.training.fold_plan import fold_configs
    from lunet_cli.engine.training.folds import train_folds
    from lunet_cli.render.console import make_console, make_status_console
    from lunet_cli.render.folds import folds_table

    if dry_run:
        show_dry_run(fold_configs(config)[0])
        return
    with show_progress(make_status_console()) as on_event:
        found = train_folds(
            config,
            only=None if fold == "all" else int(fold),
            resume=resume is not None,
            on_event=on_event,
            on_closing=partial(_keep_pictures, config.visualization, on_event, []),
        )
    make_console().print(folds_table(found))
    if found.outcome == "interrupted":
        tell_how_to_go_on("the state is saved", [*command, "--resume", "auto"])
        raise typer.Exit(128 + found.signal)
    if found.pooled is not None:
        print_result(found.pooled, as_json=False)
        words = [*program(), "predict", str(found.run_dir), "FOLDER", "-o", "masks"]
        print_next([("segment other volumes with all folds together", words)])


def _keep_pictures(
    config: VisualizationConfig,
    on_event: Callable[[Event], None],
    pictures: list[Path],
    result: TrainResult,
) -> None:
    """Save pictures of a training, and note their paths; a picture must not hide the result."""
    from lunet_cli.results.events import WarningIssued

    try:
        pictures.extend(_save_pictures(result, config))
    except LunetError as error:
        on_event(WarningIssued(error.message))


def _train(config: RunConfig, resume: str | None, pictures: list[Path]) -> TrainResult:
    """Train; the paths of pictures that were saved are added to `pictures`."""
    from lunet_cli.engine.training.train import train
    from lunet_cli.render.console import make_status_console

    with show_progress(make_status_console()) as on_event:
        save_pictures = partial(_keep_pictures, config.visualization, on_event, pictures)
        return train(config, resume=resume, on_event=on_event, on_closing=save_pictures)


def _this_command(config_file: Path, overrides: list[str] | None) -> list[str]:
    settings = [f"--set={item}" for item in overrides or ()]
    return [*launched_program(), "train", str(config_file), *settings]


def _show(result: TrainResult, config: RunConfig, command: list[str]) -> None:
    """Print what came out, and what one may do next."""
    from lunet_cli.render.console import make_console
    from lunet_cli.render.tables import train_table

    console = make_console()
    _draw(result, config.visualization, console)
    console.print(train_table(result))
    print_next(_next_commands(config, result.run_dir, command))


def _save_pictures(result: TrainResult, config: VisualizationConfig) -> list[Path]:
    """Write the pictures that the configuration asks for into the run folder."""
    from lunet_cli.engine.run_folder import RunFolder
    from lunet_cli.records.files import write_atomically
    from lunet_cli.render.figures.style import write_figure

    folder = RunFolder(result.run_dir)
    figures: dict[Path, Figure] = {}
    if _has_curves(result, config):
        from lunet_cli.render.figures.curves import curves_figure

        figures[folder.curves_picture] = curves_figure(_panels(result))
    if config.plot_slices and result.slices:
        from lunet_cli.render.figures.slices import slices_figure

        figures[folder.slices_picture] = slices_figure(result.slices)
    for path, figure in figures.items():
        write_atomically(path, partial(write_figure, figure, path=path))
    return list(figures)


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

    history = TrainingHistory(result.run_dir.name, result.history, is_finished=True)
    return curve_panels([history], CurveOptions(quantities=("loss", "dice")))


def _next_commands(config: RunConfig, run_dir: Path, command: list[str]) -> list[Following]:
    """Purpose and words of each."""
    from lunet_cli.engine.run_folder import RunFolder

    lunet, run = program(), str(run_dir)
    used_config = str(RunFolder(run_dir).config)
    longer = [item for item in command if not item.startswith("--set=training.epochs=")]
    if config.training.max_minutes is not None:
        longer.append("--set=training.max_minutes=null")
    longer += [f"--set=training.epochs={2 * config.training.epochs}", "--resume", "auto"]
    return [
        ("measure it, case by case", [*lunet, "eval", run]),
        ("leaf through its cases", [*lunet, "viz", "slices", run, "--interactive"]),
        ("read everything about it on one page", [*lunet, "report", run]),
        ("segment other volumes", [*lunet, "predict", run, "FOLDER", "-o", "masks"]),
        ("train on, twice as long", longer),
        ("the configuration that was used", [*lunet, "config", "show", used_config]),
    ]
