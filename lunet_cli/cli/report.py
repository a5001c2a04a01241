"""`lunet report`: everything about a run as one page."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lunet_cli.cli.options import Data, Split, Threads
from lunet_cli.cli.prediction import Device
from lunet_cli.cli.wording import reworded, show_progress
from lunet_cli.errors import EXIT_FAILURE, ConfigError
from lunet_cli.results.words import visible

if TYPE_CHECKING:
    from lunet_cli.config.vocabulary import SplitName


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE.html", help="The page; RUN/report.html if not given."
        ),
    ] = None,
    data: Data = None,
    split: Split = None,
    device: Device = "auto",
    threads: Threads = None,
) -> None:
    """Write a page about a run that needs no network: curves, cases, pictures, how to repeat it."""
    if output is not None and output.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"-o {output}: is not a page", hint="End the name with .html.")
    from lunet_cli.engine.run_folder import RunFolder
    from lunet_cli.engine.viewing.histories import read_history
    from lunet_cli.records.files import require_place, write_atomically

    read_history(run)  # Whether there is a training here, before PyTorch is loaded.
    place = output or RunFolder(run).report
    require_place(place)
    from lunet_cli.config.options import PredictionOptions
    from lunet_cli.engine.inference.predictor import set_up_process
    from lunet_cli.engine.reporting.report import gather_report
    from lunet_cli.render.console import make_status_console
    from lunet_cli.render.report.page import render_page

    set_up_process(threads)
    with show_progress(make_status_console()) as on_event:
        found = gather_report(
            run, data=data, split=split, options=PredictionOptions(device=device), on_event=on_event
        )
        page = render_page(found, commands=commands_for(run, data, split), reword=reworded)
    write_atomically(place, lambda file: file.write(page.encode()))
    typer.echo(visible(f"{place} ({len(page) / 1e6:.1f} MB)"))
    if found.evaluation is not None and found.evaluation.failures:
        raise typer.Exit(EXIT_FAILURE)


def commands_for(
    run: Path, data: Path | None, split: SplitName | None
) -> tuple[tuple[str, str], ...]:
    """Purpose and command line of each step that repeats what a report tells of a run."""
    from lunet_cli.engine.run_folder import RunFolder

    where = []
    if data is not None:
        where += ["--data", str(data)]
    if split is not None:
        where += ["--split", split]
    config, name = RunFolder(run).config, f"{run.resolve().name}_again"
    return (
        ("train it again", _line("train", str(config), "--set", f"experiment.name={name}")),
        ("measure it", _line("eval", str(run), *where)),
        ("look at a case", _line("viz", "slices", str(run), *where, "--interactive")),
        ("make this page", _line("report", str(run), *where)),
    )


def _line(*words: str) -> str:
    """A line for a shell, in which names of strangers are quoted."""
    return shlex.join(["lunet", *words])
