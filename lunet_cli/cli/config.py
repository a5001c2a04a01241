"""`lunet config`: list and copy shipped configurations, check and show one, print the schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from lunet_cli.cli.config_file import ConfigFile, Overrides, read_config, refuse_extras
from lunet_cli.cli.helping import LENIENT, AsJson, PlainCommand, new_app
from lunet_cli.results.words import plural, visible, visible_lines

app = new_app("List, copy, check, show or describe configurations.")


@app.command("list", cls=PlainCommand)
def list_configs(as_json: AsJson = False) -> None:
    """List the shipped configurations; `lunet train NAME` takes them by name."""
    from lunet_cli.config.load import load_config
    from lunet_cli.config.shipped import purpose, shipped_configs

    rows = []
    for name, path in shipped_configs().items():
        config = load_config(path)
        rows.append((name, config.model.architecture, config.training.epochs, purpose(path)))
    if as_json:
        keys = ("name", "architecture", "epochs", "purpose")
        typer.echo(json.dumps([dict(zip(keys, row, strict=True)) for row in rows], indent=2))
        return
    for name, architecture, epochs, about in rows:
        typer.echo(f"{name:<12} {architecture:<15} {epochs:>6,} epochs  {about}")


@app.command("copy", cls=PlainCommand)
def copy(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A shipped configuration, such as lunet_small.")
    ],
    destination: Annotated[
        Path | None,
        typer.Argument(metavar="DEST", help="File or folder; NAME.yaml here if not given."),
    ] = None,
) -> None:
    """Copy a shipped configuration to change it; never overwrites."""
    from lunet_cli.config.shipped import shipped_config
    from lunet_cli.records.files import write_new

    source = shipped_config(name)
    target = destination or Path(source.name)
    if target.is_dir():
        target /= source.name
    write_new(target, source.read_bytes())
    typer.echo(visible(f"{target}: a copy of the shipped {source.name}"))


@app.command("check", cls=PlainCommand, context_settings=LENIENT)
def check(context: typer.Context, path: ConfigFile, overrides: Overrides = None) -> None:
    """Check whether a training could start, and report every mistake at once."""
    refuse_extras(context, path)
    config = read_config(path, overrides)
    from lunet_cli.config.foresight import require_startable
    from lunet_cli.records.files import require_makeable
    from lunet_cli.records.model_folder import require_path_or_model

    require_startable(config)
    for teacher in config.distillation.teacher:
        require_path_or_model(teacher)
    require_makeable(config.experiment.output_dir / config.experiment.name)
    epochs = plural(config.training.epochs, "epoch")
    typer.echo(visible(f"{path}: correct ({config.model.architecture}, {epochs})"))
    if config.data.is_missing:
        typer.echo(f"to train, add --set data.root=FOLDER. {config.data.source}", err=True)


@app.command("show", cls=PlainCommand, context_settings=LENIENT)
def show(
    context: typer.Context,
    path: Annotated[
        Path | None,
        typer.Argument(metavar="CONFIG", help="YAML configuration; without it, all defaults."),
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Print the fully resolved configuration as YAML."""
    refuse_extras(context, path)
    from lunet_cli.config.load import dump_yaml

    typer.echo(visible_lines(dump_yaml(read_config(path, overrides))), nl=False)


@app.command("schema", cls=PlainCommand)
def schema() -> None:
    """Print the JSON schema of configurations, for editors that complete and check."""
    from lunet_cli.config.run import RunConfig

    typer.echo(json.dumps(RunConfig.model_json_schema(), indent=2))
