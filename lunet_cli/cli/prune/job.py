"""`lunet prune`: remove channels step by step, and let the network recover in between."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lunet_cli.cli.config_file import Overrides, read_config, refuse_extras
from lunet_cli.cli.following import Following, print_next, program, tell_how_to_go_on
from lunet_cli.cli.options import option
from lunet_cli.cli.prune import app
from lunet_cli.cli.wording import show_progress
from lunet_cli.config.pruning import PruningConfig, Strategy
from lunet_cli.errors import ConfigError, DataError

if TYPE_CHECKING:
    from lunet_cli.config.run import RunConfig
    from lunet_cli.results.pruning import PruneResult


def _commands(incomplete: str) -> list[str]:
    """The commands that may stand where the source of the job does."""
    names = [str(command.name) for command in app.registered_commands]
    return [name for name in names if name.startswith(incomplete)]


def prune(
    context: typer.Context,
    source: Annotated[
        Path,
        typer.Argument(
            metavar="CONFIG|RUN",
            autocompletion=_commands,
            help="A run folder, whose best model is pruned, or a configuration, whose network is "
            "trained first for pruning.warmup_epochs.",
        ),
    ],
    strategy: Annotated[
        Strategy | None,
        option(PruningConfig, "strategy"),
    ] = None,
    steps: Annotated[
        int | None,
        option(PruningConfig, "steps", metavar="N"),
    ] = None,
    overrides: Overrides = None,
    resume: Annotated[
        str | None,
        typer.Option(
            metavar="PATH|auto",
            help="Go on with a pruning that was interrupted: its run folder; auto: the one that "
            "this command line names, if there is one.",
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="List the layers and what could be removed; write nothing."),
    ] = False,
) -> None:
    """Prune a network: remove channels step by step, and let it recover in between.

    What is made of a RUN lies beside it, as RUN_STRATEGY; --set experiment.name=NAME names it
    otherwise.
    """
    if not str(source).startswith("-"):  # Otherwise, an option that is none of ours.
        _require_source(source)
    refuse_extras(context, source, section="pruning")
    settings = _settings(overrides, strategy, steps)
    config, start = _read(source, settings)
    if dry_run:
        _dry_run(config, start)
        return
    from lunet_cli.engine.pruning.prune import prune
    from lunet_cli.render.console import make_status_console

    with show_progress(make_status_console()) as on_event:
        result = prune(config, start=start, resume=resume, on_event=on_event)
    if result.outcome == "interrupted":
        _tell_how_to_go_on(result, source, settings)
        raise typer.Exit(128 + result.signal)
    _show(result, config)


def _settings(
    overrides: list[str] | None, strategy: Strategy | None, steps: int | None
) -> list[str]:
    """All overrides of the configuration, those that are options of their own among them."""
    settings = list(overrides or ())
    if strategy is not None:
        settings.append(f"pruning.strategy={strategy}")
    if steps is not None:
        settings.append(f"pruning.steps={steps}")
    return settings


def _read(source: Path, settings: list[str]) -> tuple[RunConfig, Path | None]:
    """The configuration, and the model that is pruned; None trains one first.

    Raises:
        LunetError: Neither a run nor a configuration can be read there.
    """
    if source.is_dir():
        return _read_run(source, settings)
    return read_config(source, settings), None


def _read_run(run: Path, settings: list[str]) -> tuple[RunConfig, Path]:
    """The configuration of a run with a name and place beside it, and its best model."""
    from lunet_cli.engine.run_folder import RunFolder

    folder = RunFolder(run)
    for file in (folder.config, folder.best):
        if not file.exists():
            raise DataError(
                f"{run}: is not the folder of a training: it has no {file.name}",
                hint="Name a run folder, such as runs/quickstart, or a configuration.",
            )
    if run.name in ("", ".."):
        run = run.resolve()
    # The recorded place may be seen from another folder, or the run has moved. JSON is YAML.
    settings = [f"experiment.output_dir={json.dumps(str(run.parent))}", *settings]
    config = read_config(folder.config, settings)
    if not any(setting.startswith("experiment.name=") for setting in settings):
        name = json.dumps(f"{run.name}_{config.pruning.strategy}")
        config = read_config(folder.config, [f"experiment.name={name}", *settings])
    return config, folder.best


def _require_source(source: Path) -> None:
    """Raise if a word names nothing that can be pruned; perhaps it was meant for a command.

    Raises:
        ConfigError: With the nearest names.
    """
    from lunet_cli.config.names import closest
    from lunet_cli.config.shipped import find_config, shipped_configs

    if source.suffix == ".pt" and source.is_file():
        raise ConfigError(
            f"{source}: is a checkpoint", hint=f"Name its run folder: {source.absolute().parent}"
        )
    if find_config(source).exists():
        return
    known = [*shipped_configs(), *_commands("")]
    raise ConfigError(
        f"{source}: is not a run folder, a configuration or a command. "
        f"{closest(str(source), known)}",
        hint="All commands: lunet prune --help",
    )


def _dry_run(config: RunConfig, start: Path | None) -> None:
    from lunet_cli.engine.pruning.dry_run import dry_run
    from lunet_cli.render.console import make_console
    from lunet_cli.render.pruning_tables import layers_table

    make_console().print(layers_table(dry_run(config, start)))


def _tell_how_to_go_on(result: PruneResult, source: Path, settings: list[str]) -> None:
    command = [*program(), "prune", str(source)]
    command += [f"--set={setting}" for setting in settings]
    tell_how_to_go_on(f"the state is saved in {result.run_dir}", [*command, "--resume", "auto"])


def _show(result: PruneResult, config: RunConfig) -> None:
    """Print what came out, and what one may do next."""
    from lunet_cli.engine.viewing.prunings import summarize_pruning
    from lunet_cli.render.console import make_console
    from lunet_cli.render.pruning_tables import prune_table

    view = summarize_pruning(
        result.steps, config.pruning, name=result.run_dir.name, is_finished=True
    )
    make_console().print(prune_table(result, view))
    print_next(_next_commands(result.run_dir))


def _next_commands(run_dir: Path) -> list[Following]:
    """Purpose and words of each."""
    from lunet_cli.engine.run_folder import RunFolder

    lunet, run = program(), str(run_dir)
    pruned = str(RunFolder(run_dir).pruned_config)
    return [
        ("channels and Dice over the steps", [*lunet, "prune", "show", run]),
        ("measure the chosen network, case by case", [*lunet, "eval", run]),
        ("segment other volumes with it", [*lunet, "predict", run, "FOLDER", "-o", "masks"]),
        ("train it from the beginning", [*lunet, "train", pruned]),
        ("the flat network of that size", [*lunet, "prune", "to-lean", run]),
    ]
