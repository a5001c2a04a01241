"""`lunet config`: check a configuration, show it resolved, or print its schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from lunet_cli.cli.helping import PlainCommand, new_app
from lunet_cli.cli.options import ConfigFile, Overrides
from lunet_cli.results.words import plural, visible, visible_lines

app = new_app("Check, show or describe configurations.")


@app.command("check", cls=PlainCommand)
def check(path: ConfigFile, overrides: Overrides = None) -> None:
    """Check a configuration and report every mistake at once."""
    from lunet_cli.config.load import load_config

    config = load_config(path, overrides or ())
    epochs = plural(config.training.epochs, "epoch")
    typer.echo(visible(f"{path}: correct ({config.model.architecture}, {epochs})"))


@app.command("show", cls=PlainCommand)
def show(
    path: Annotated[
        Path | None, typer.Argument(metavar="CONFIG", help="YAML configuration; without it, all defaults.")
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Print the fully resolved configuration as YAML."""
    from lunet_cli.config.load import dump_yaml, load_config

    typer.echo(visible_lines(dump_yaml(load_config(path, overrides or ()))), nl=False)


@app.command("schema", cls=PlainCommand)
def schema() -> None:
    """Print the JSON schema of configurations, for editors that complete and check."""
    from lunet_cli.config.run import RunConfig

    typer.echo(json.dumps(RunConfig.model_json_schema(), indent=2))
