"""`lunet config`: check a configuration, show it resolved, or print its schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from lunet_cli.cli.options import ConfigFile, Overrides

app = typer.Typer(help="Check, show or describe configurations.", no_args_is_help=True)


@app.command("check")
def check(path: ConfigFile, overrides: Overrides = None) -> None:
    """Check a configuration and report every mistake at once."""
    from lunet_cli.config.load import load_config

    config = load_config(path, overrides or ())
    typer.echo(f"{path}: correct ({config.model.architecture}, {config.training.epochs} epochs)")


@app.command("show")
def show(
    path: Annotated[
        Path | None, typer.Argument(metavar="[CONFIG]", help="YAML configuration; without it, all defaults.")
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Print the fully resolved configuration as YAML."""
    from lunet_cli.config.load import dump_yaml, load_config

    typer.echo(dump_yaml(load_config(path, overrides or ())), nl=False)


@app.command("schema")
def schema() -> None:
    """Print the JSON schema of configurations, for editors that complete and check."""
    from lunet_cli.config.run import RunConfig

    typer.echo(json.dumps(RunConfig.model_json_schema(), indent=2))
