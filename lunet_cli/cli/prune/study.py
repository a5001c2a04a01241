"""`lunet prune study`: strategies of pruning, and networks trained from scratch, side by side."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lunet_cli.cli.config_file import ConfigFile, Overrides, read_config, refuse_extras
from lunet_cli.cli.failure import print_error
from lunet_cli.cli.following import program, tell_how_to_go_on
from lunet_cli.cli.viz.display import Output, require_output, save
from lunet_cli.cli.wording import show_progress
from lunet_cli.errors import EXIT_FAILURE, LunetError
from lunet_cli.results.words import plural, visible

if TYPE_CHECKING:
    from lunet_cli.config.run import RunConfig
    from lunet_cli.results.studies import StudyResult


def study(
    context: typer.Context,
    config_file: ConfigFile,
    strategies: Annotated[
        list[str] | None,
        typer.Option(
            "--strategy",
            metavar="NAME[:KEY=VALUE,...]",
            help="Strategy, with keys of the section pruning that are its own, such as "
            "stamp:normalization=none; repeatable. stamp, random-in-layer and random-in-largest if "
            "not given.",
        ),
    ] = None,
    seeds: Annotated[
        int, typer.Option(metavar="N", min=1, help="Seeds, from 1 on; each prunes its own network.")
    ] = 2,
    from_scratch: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PRESET", help="Network that is trained in the same way beside; repeatable."
        ),
    ] = None,
    jobs: Annotated[
        int,
        typer.Option(metavar="N", min=1, help="Trials at once; the cores are divided among them."),
    ] = 1,
    budget: Annotated[
        float,
        typer.Option(
            metavar="SHARE", help="Share of the parameters that is left where all are compared."
        ),
    ] = 0.15,
    output: Output = None,
    overrides: Overrides = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the trials and how far they are; write nothing.")
    ] = False,
) -> None:
    """Prune in several ways and with several seeds, and compare Dice at the same budget.

    Trials lie in <output_dir>/<name> of CONFIG, a folder each; those that have finished there are
    taken as they are, the others go on.
    """
    refuse_extras(context, config_file, section="pruning")
    require_output(output, no_color=False)
    config = read_config(config_file, overrides)
    from lunet_cli.engine.pruning.study import PAPER_STRATEGIES
    from lunet_cli.engine.pruning.study import study as run_study
    from lunet_cli.render.console import make_status_console

    chosen, presets = strategies or list(PAPER_STRATEGIES), from_scratch or []
    if dry_run:
        _dry_run(config, chosen, seeds, presets, jobs, budget)
        return
    with show_progress(make_status_console()) as on_event:
        result = run_study(
            config,
            strategies=chosen,
            seeds=seeds,
            from_scratch=presets,
            jobs=jobs,
            budget=budget,
            on_event=on_event,
        )
    if result.signal:
        saved = f"the states of all trials are saved in {result.folder}"
        tell_how_to_go_on(saved, [*program(), *sys.argv[1:]])
        raise typer.Exit(128 + result.signal)
    _show(result, output)
    if result.failures:
        _tell_failures(result)
        raise typer.Exit(EXIT_FAILURE)


def _dry_run(
    config: RunConfig,
    strategies: list[str],
    seeds: int,
    presets: list[str],
    jobs: int,
    budget: float,
) -> None:
    from lunet_cli.engine.pruning.study import list_trials
    from lunet_cli.render.console import make_console
    from lunet_cli.render.study_tables import trials_table

    trials = list_trials(
        config, strategies=strategies, seeds=seeds, from_scratch=presets, budget=budget
    )
    make_console().print(trials_table(trials, os.cpu_count() or 1, jobs))


def _show(result: StudyResult, output: Path | None) -> None:
    """Print the tables, and draw the curves or save them."""
    from lunet_cli.engine.run_folder import RunFolder
    from lunet_cli.render.console import make_console
    from lunet_cli.render.study_tables import study_table
    from lunet_cli.render.terminal.screen import Screen
    from lunet_cli.render.terminal.study import draw_study

    console = make_console()
    if result.rows:
        if output is None:
            console.print(draw_study(result, Screen.of(console)))
        console.print(study_table(result))
        typer.echo(visible(RunFolder(result.folder).study))
    if result.rows and output is not None:
        from lunet_cli.render.figures.study import study_figure

        save(study_figure(result), output)


def _tell_failures(result: StudyResult) -> None:
    number = plural(len(result.failures), "trial")
    typer.echo(f"{number} of this study failed; start it again to go on with them:", err=True)
    for failure in result.failures:
        print_error(LunetError(f"{failure.trial}: {failure.message}", failure.hint))
