"""`lunet train`: from a configuration to a trained network."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lunet_cli.cli.options import ConfigFile, Overrides

if TYPE_CHECKING:
    from lunet_cli.config.run import RunConfig


def train(
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
        bool, typer.Option("--dry-run", help="Check everything, run one step, estimate the cost, write nothing.")
    ] = False,
) -> None:
    """Train a network as CONFIG says."""
    from lunet_cli.config.load import load_config

    config = load_config(config_file, overrides or ())
    from lunet_cli.render.console import make_console, make_status_console
    from lunet_cli.render.progress import report_progress

    program = "lunet" if shutil.which("lunet") else sys.argv[0]
    again = [program, "train", str(config_file), *(f"--set={item}" for item in overrides or ())]
    status = make_status_console()
    if dry_run:
        from lunet_cli.engine.training.dry_run import rehearse
        from lunet_cli.render.tables import dry_run_table

        with report_progress(status) as on_event:
            estimate = rehearse(config, on_event=on_event)
        make_console().print(dry_run_table(estimate))
        return
    from lunet_cli.engine.training.train import train as run_training
    from lunet_cli.render.plots import print_pictures
    from lunet_cli.render.tables import train_table

    with report_progress(status) as on_event:
        result = run_training(config, resume=resume, on_event=on_event)
    if result.outcome == "interrupted":
        status.print(f"Stopped; the state is saved in {result.run_dir}. Go on with:", highlight=False)
        status.print(f"  {shlex.join([*again, '--resume', 'auto'])}", highlight=False, soft_wrap=True)
        raise typer.Exit(128 + result.signal)
    console = make_console()
    print_pictures(result, config.visualization, console)
    console.print(train_table(result))
    console.print("\nNext:")
    for purpose, command in _next_commands(config, result.run_dir, again):
        # Whole lines, whatever the width: they are there to be copied.
        console.print(f"  # {purpose}\n  {command}", soft_wrap=True, markup=False)


def _next_commands(config: RunConfig, run_dir: Path, again: list[str]) -> list[tuple[str, str]]:
    more = [item for item in again if not item.startswith("--set=training.epochs=")]
    longer = [*more, f"--set=training.epochs={2 * config.training.epochs}", "--resume", "auto"]
    return [
        ("measure it, case by case", shlex.join([again[0], "eval", str(run_dir)])),
        ("segment other volumes", shlex.join([again[0], "predict", str(run_dir), "FOLDER", "-o", "masks"])),
        ("train on, twice as long", shlex.join(longer)),
        ("the configuration that was used", shlex.join([again[0], "config", "show", str(run_dir / "config.yaml")])),
    ]
