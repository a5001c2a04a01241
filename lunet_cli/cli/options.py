"""Arguments and options that several commands share."""

from __future__ import annotations

import shlex
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from lunet_cli.cli.wording import reworded
from lunet_cli.errors import ConfigError

if TYPE_CHECKING:
    from lunet_cli.config.options import Options
    from lunet_cli.config.run import RunConfig

ConfigFile = Annotated[
    Path,
    typer.Argument(
        metavar="CONFIG",
        help="YAML configuration, or the name of a shipped one, such as quickstart.",
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="SECTION.KEY=VALUE",
        help="Override a key of the configuration; repeatable.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts instead of a table.")]
Architecture = Annotated[
    str | None,
    typer.Option(
        "--arch", metavar="NAME", help="Network of a checkpoint of the Lean Unet authors' release."
    ),
]
Data = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Labelled data set; that of the training if not given."),
]
Split = Annotated[
    Literal["train", "val", "test", "all"] | None,
    typer.Option(help="Which cases; val if not given, and all of --data."),
]
Threads = Annotated[
    int | None,
    typer.Option(
        metavar="N", min=1, help="CPU threads of the network; all that PyTorch finds if not given."
    ),
]

Ensemble = Annotated[
    list[Path] | None,
    typer.Option("--ensemble", metavar="CHECKPOINT", help="Average with this one too; repeatable."),
]

# Lets a command see the options that it does not have, to say how they are written; see
# `refuse_extras`.
LENIENT = {"allow_extra_args": True, "ignore_unknown_options": True}


def option(model: type[Options], field: str, *names: str, **settings: Any) -> Any:
    """The option for a field: its help is the description that stands with the field.

    Args:
        model: Options of a job.
        field: One of its fields; the argument of the command has its name, so that what the engine
            says of the field is told of the option.
        names: How it is written; the field with dashes if none is given.
        settings: More for `typer.Option`.
    """
    description = " ".join((model.model_fields[field].description or "").split())
    written = names or (f"--{field.replace('_', '-')}",)
    return typer.Option(*written, help=reworded(description), **settings)


def default(model: type[Options], field: str) -> Any:
    """The default of a field."""
    return model.model_fields[field].default


def read_config(path: Path | None, overrides: list[str] | None) -> RunConfig:
    """The configuration that a person named; tells where a shipped one lies.

    Raises:
        ConfigError: It is wrong; the message lists every mistake.
    """
    from lunet_cli.config.load import load_config
    from lunet_cli.config.shipped import find_config

    found = None if path is None else find_config(path)
    if found != path:
        typer.echo(f"configuration: the shipped {found}", err=True)
    return load_config(found, overrides or ())


def refuse_extras(context: typer.Context, first: Path | None) -> None:
    """Raise if there are options that the command does not have, and say how keys are set.

    Args:
        context: Of a command with the settings `LENIENT`.
        first: What it took for its first argument; an unknown option in front of it is taken so.

    Raises:
        ConfigError: With the command line that is meant, as far as it can be told.
    """
    extras = list(context.args)
    if first is not None and str(first).startswith("-"):
        extras.insert(0, str(first))
    if not extras:
        return
    known = [
        name
        for parameter in context.command.params
        for name in parameter.opts
        if name.startswith("--")
    ]
    unknown = [extra.partition("=")[0] for extra in extras if extra.startswith("-")]
    if unknown:
        named = ", ".join(dict.fromkeys(unknown))
        raise ConfigError(f"there is no option {named}", hint=_meant_options(extras, known))
    raise ConfigError(
        f"there is one argument too many: {extras[0]}", hint=_meant_options(extras, known)
    )


def _meant_options(extras: list[str], known: list[str]) -> str:
    """A sentence with the options that are probably meant."""
    from lunet_cli.config.keys import key_called

    settings, similar = [], []
    for index, extra in enumerate(extras):
        name, separator, value = extra.partition("=")
        if not (name.startswith("--") or separator):
            continue
        own = get_close_matches(name, known, n=1, cutoff=0.8)
        key = key_called(name)
        if own or key is None:
            similar += own
            continue
        following = extras[index + 1 : index + 2]
        if not separator and following and not following[0].startswith("-"):
            value = following[0]
        settings.append(shlex.join(["--set", f"{key}={value or 'VALUE'}"]))
    if settings:
        return f"Keys of the configuration are set so: {' '.join(settings)}"
    if similar:
        return f"Did you mean {', '.join(similar)}?"
    return "Keys of the configuration are set so: --set training.epochs=20"
