"""`lunet study`: many trainings, shared among processes, compared at the end."""

from __future__ import annotations

import os
import shlex
import sys
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lunet_cli.cli.config_file import ConfigFile, Overrides, read_config, refuse_extras
from lunet_cli.cli.failure import print_error
from lunet_cli.cli.following import Following, print_next, program, tell_how_to_go_on
from lunet_cli.cli.helping import AsJson
from lunet_cli.cli.options import option
from lunet_cli.cli.wording import call_also, reworded, show_progress
from lunet_cli.config.options import StudyOptions
from lunet_cli.config.study import Sampler, StudyConfig, read_vary
from lunet_cli.errors import EXIT_FAILURE, LunetError
from lunet_cli.results.words import plural, visible, without_password

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lunet_cli.config.run import RunConfig
    from lunet_cli.results.training_studies import TrainingStudy

_key = partial(option, StudyConfig)
_field = partial(option, StudyOptions)
_USUAL = StudyOptions()


def study(
    context: typer.Context,
    config_file: ConfigFile,
    vary: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SECTION.KEY=VALUE,VALUE",
            help="A key in which trainings differ, with its values as in YAML; in a search also "
            "LOW..HIGH or LOW..HIGH:log. Repeatable: every combination is trained.",
        ),
    ] = None,
    seeds: Annotated[int | None, _key("seeds", metavar="N")] = None,
    fold: Annotated[Literal["all"] | None, _key("fold")] = None,
    minutes: Annotated[float | None, _key("minutes", metavar="M")] = None,
    metric: Annotated[str | None, _key("metric", metavar="NAME")] = None,
    search: Annotated[Sampler | None, _key("search")] = None,
    trials: Annotated[int | None, _key("trials", metavar="N")] = None,
    stop_hopeless: Annotated[bool, _key("stop_hopeless", "--stop-hopeless")] = False,
    storage: Annotated[str | None, _field("storage", metavar="URL")] = None,
    jobs: Annotated[int, _field("jobs", metavar="N")] = _USUAL.jobs,
    wait: Annotated[bool, _field("wait", "--wait/--no-wait")] = _USUAL.wait,
    latency: Annotated[bool, _field("latency", "--latency/--no-latency")] = _USUAL.latency,
    overrides: Overrides = None,
    as_json: AsJson = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="List the trainings and how far they are; write nothing."),
    ] = False,
) -> None:
    """Train combinations of settings with several seeds, and compare them case by case.

    The same command, started as often as you like, also on several machines with a common folder,
    shares the work; what a process leaves that dies, the others take over. Trainings lie in
    <output_dir>/<name> of CONFIG, a folder each; those that have ended there are taken as they are.
    """
    refuse_extras(context, config_file, section="study")
    settings = {
        "seeds": seeds,
        "fold": fold,
        "minutes": minutes,
        "metric": metric,
        "search": search,
        "trials": trials,
        "stop_hopeless": stop_hopeless or None,
    }
    config = _with_options(read_config(config_file, overrides), settings)
    options = StudyOptions(jobs=jobs, storage=storage, wait=wait, latency=latency)
    varied = read_vary(vary or [])
    if dry_run:
        _dry_run(config, varied, options)
        return
    result = _run(config, varied, options)
    if result.signal:
        saved = f"the states of all trainings are saved in {result.folder}"
        tell_how_to_go_on(saved, map(without_password, [*program(), *sys.argv[1:]]))
        raise typer.Exit(128 + result.signal)
    if as_json:
        from lunet_cli.records.record import json_text

        typer.echo(json_text(result), nl=False)
    else:
        _show(result)
    if result.failures:
        _tell_failures(result)
        raise typer.Exit(EXIT_FAILURE)


def _with_options(config: RunConfig, options: Mapping[str, object]) -> RunConfig:
    """The configuration with options as keys of its section `study`; messages name the options."""
    from lunet_cli.config.load import with_values

    values: dict[str, object] = {}
    origins: dict[str, str] = {}
    for name, value in options.items():
        key = f"study.{name}"
        call_also(key, f"--{name.replace('_', '-')}")
        if value is not None:
            values[key], origins[key] = value, f"`{key}={value}`"
    return with_values(config, values, origins=origins)


def _dry_run(config: RunConfig, vary: Mapping[str, object], options: StudyOptions) -> None:
    from lunet_cli.engine.studies.study import list_trainings
    from lunet_cli.render.console import make_console
    from lunet_cli.render.training_study_tables import runs_table

    runs = list_trainings(config, vary=vary, options=options)
    console = make_console()
    console.print(runs_table(runs, os.cpu_count() or 1, options.jobs))
    if config.study.search is not None:
        number = plural(config.study.trials, "combination")
        console.print(f"the search chooses {number} in all, one after the other")


def _run(config: RunConfig, vary: Mapping[str, object], options: StudyOptions) -> TrainingStudy:
    """Work on the trainings; then keep the picture and the page of what they have found."""
    from lunet_cli.engine.studies.study import study as run_study
    from lunet_cli.render.console import make_status_console

    with show_progress(make_status_console()) as on_event:
        result = run_study(config, vary=vary, options=options, on_event=on_event)
    if result.variants and not result.signal:
        _save(result)
    return result


def _save(result: TrainingStudy) -> None:
    from lunet_cli.engine.run_folder import RunFolder
    from lunet_cli.records.files import write_atomically
    from lunet_cli.render.figures.pareto import pareto_figure
    from lunet_cli.render.figures.style import write_figure
    from lunet_cli.render.report.study_page import render_study_page

    folder = RunFolder(result.folder)
    if result.pictures:
        figure, path = pareto_figure(result.pictures[0]), folder.pareto_picture
        write_atomically(path, partial(write_figure, figure, path=path))
    words = map(without_password, ["lunet", *sys.argv[1:]])
    page = render_study_page(result, command=shlex.join(words), reword=reworded)
    write_atomically(folder.study_page, lambda file: file.write(page.encode()))


def _show(result: TrainingStudy) -> None:
    """Draw what was found, print the tables, and say what there is to look at."""
    from lunet_cli.render.console import make_console
    from lunet_cli.render.terminal.pareto import draw_pareto
    from lunet_cli.render.terminal.screen import Screen
    from lunet_cli.render.training_study_tables import training_study_table

    console = make_console()
    if not result.variants:
        typer.echo(f"nothing has ended yet in {visible(result.folder)}", err=True)
        return
    if result.pictures:
        console.print(draw_pareto(result.pictures[0], Screen.of(console)))
    console.print(training_study_table(result))
    print_next(_next_commands(result))


def _next_commands(result: TrainingStudy) -> list[Following]:
    """Purpose and words of each."""
    from lunet_cli.engine.run_folder import RunFolder

    folder, lunet = RunFolder(result.folder), program()
    trials = [str(folder.path / trial.trial) for trial in result.trials]
    found: list[Following] = [("all of it on a page", [str(folder.study_page)])]
    if len(result.variants) > 1:
        picture = [str(folder.comparison), "-o", "pareto.pdf"]
        if result.latency:
            picture = [str(folder.comparison), str(folder.bench), "--cost", "latency", *picture[1:]]
        found.append(("a picture for a paper", [*lunet, "viz", "pareto", *picture]))
    if len(trials) > 1:
        found.append(("label by label, case by case", [*lunet, "compare", trials[0], trials[-1]]))
    # Of a search, the best comes first.
    best, *_ = (one.trial for one in result.trials if one.variant == result.variants[0].variant)
    predict = [*lunet, "predict", str(folder.path / best), "FOLDER", "-o", "masks"]
    found.append(("segment volumes", predict))
    return found


def _tell_failures(result: TrainingStudy) -> None:
    number = plural(len(result.failures), "training")
    typer.echo(f"{number} of this study failed; start it again to try them again:", err=True)
    for failure in result.failures:
        print_error(LunetError(f"{failure.trial}: {failure.message}", failure.hint))
