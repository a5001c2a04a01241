"""The argument CONFIG and its overrides, and what is said of options that are keys of it."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lunet_cli.errors import ConfigError

if TYPE_CHECKING:
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


def read_config(path: Path | None, overrides: list[str] | None) -> RunConfig:
    """The configuration that a person named; tells where a shipped one lies.

    Raises:
        ConfigError: It is wrong; the message lists every mistake.
    """
    from lunet_cli.config.load import load_config
    from lunet_cli.config.shipped import find_config

    found = None if path is None else find_config(path)
    if found != path:
        # Not to standard output: that of `config show` is a configuration.
        typer.echo(f"configuration: the shipped {found}", err=True)
    return load_config(found, overrides or ())


def refuse_extras(context: typer.Context, first: Path | None, *, section: str = "") -> None:
    """Raise if there are options that the command does not have, and say how keys are set.

    Args:
        context: Of a command with the settings `helping.LENIENT`.
        first: What it took for its first argument; an unknown option in front of it is taken so.
        section: The section of the configuration that is for this command, if there is one.

    Raises:
        ConfigError: With the command line that is meant, as far as it can be told.
    """
    extras = list(context.args)
    if first is not None and str(first).startswith("-"):
        extras.insert(0, str(first))
    if not extras:
        return
    known = [name for parameter in context.command.params for name in parameter.opts]
    unknown = [extra.partition("=")[0] for extra in extras if extra.startswith("-")]
    problem = f"there is one argument too many: {extras[0]}"
    if unknown:
        problem = f"there is no option {', '.join(dict.fromkeys(unknown))}"
    raise ConfigError(problem, hint=_meant_options(extras, known, section))


def _meant_options(extras: list[str], known: list[str], section: str) -> str:
    """A sentence with the options that are probably meant."""
    from lunet_cli.config.keys import key_called
    from lunet_cli.config.names import did_you_mean

    settings: list[str] = []
    similar: list[str] = []
    for name, value in _named_values(extras):
        # One slip in five letters: an option that is less alike is rather a key.
        own = get_close_matches(name, known, n=1, cutoff=0.8)
        key = key_called(name, section)
        if own or key is None:
            similar += own
        else:
            settings.append(shlex.join(["--set", f"{key}={value or 'VALUE'}"]))
    if similar and not settings:
        return did_you_mean(similar)
    example = " ".join(settings) or "--set training.epochs=20"
    return f"Set a key of the configuration like this: {example}"


def _named_values(extras: list[str]) -> Iterator[tuple[str, str]]:
    """What may be meant as an option or a key, with its value; empty if it has none."""
    for extra, following in itertools.pairwise([*extras, "-"]):
        name, separator, value = extra.partition("=")
        if separator:
            yield name, value
        elif name.startswith("--"):
            yield name, "" if following.startswith("-") else following
