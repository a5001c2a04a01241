"""How `--help` looks, and how commands are found without importing all of them."""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NamedTuple, cast

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup

from lunet_cli.cli.wording import speak_of

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts instead of a table.")]

# Lets a command see the options that it does not have, to say how they are written; see
# `cli.config_file.refuse_extras`.
LENIENT = {"allow_extra_args": True, "ignore_unknown_options": True}


class Command(NamedTuple):
    """A command by name, so that its module is imported only where it is asked for.

    Args:
        place: `module:name` of a function, or of the `typer.Typer` of a group.
        summary: What the help of the group above says of it.
        context_settings: How its command line is read, where it is read in a way of its own.
        below: `module:name` of the `typer.Typer` with further commands behind the same word.
    """

    place: str
    summary: str
    context_settings: dict[str, Any] | None = None
    below: str | None = None

    def load(self) -> TyperCommand | TyperGroup:
        """The command itself."""
        found = pkgutil.resolve_name(self.place)
        if isinstance(found, typer.Typer):
            return typer.main.get_group(found)
        # Typer makes commands of applications only.
        alone = typer.Typer(
            add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False
        )
        kind = PlainCommand
        if self.below is not None:
            kind = Job
        alone.command(cls=kind, context_settings=self.context_settings)(found)
        command = cast("TyperCommand", typer.main.get_command(alone))
        if isinstance(command, Job):
            command.group = typer.main.get_group(pkgutil.resolve_name(str(self.below)))
        return command


class _NotLoaded(TyperCommand):
    """Stands for a command in lists of commands; its callback returns the command itself."""


class PlainCommand(TyperCommand):
    """A command that tells what its arguments mean, and not that they are a `<list[Path]>`."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; what the engine says from here on names the options of this one."""
        speak_of((parameter.name, _written(parameter)) for parameter in self.get_params(ctx))
        return super().invoke(ctx)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments, then the options."""
        arguments: list[tuple[str, str]] = []
        options: list[tuple[str, str]] = []
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is None:
                continue
            if isinstance(parameter, TyperArgument):
                description = record[1].removesuffix("[required]").rstrip()
                arguments.append((parameter.display_name_raw, description))
            else:
                options.append(record)
        for heading, rows in (("Arguments", arguments), ("Options", options)):
            if rows:
                with formatter.section(heading):
                    formatter.write_dl(rows)


class Job(PlainCommand):
    """A command whose name is that of a group too: `lunet prune CONFIG`, and `lunet prune show`.

    The first word decides: if it names a command of the group, that one is meant.
    """

    group: TyperGroup

    def has(self, words: Sequence[str]) -> bool:
        """Whether the words behind the name are for a command of the group."""
        return bool(words) and words[0] in self.group.commands

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments; without any, show the help."""
        return super().parse_args(ctx, args or ["--help"])

    def format_usage(self, ctx: Any, formatter: Any) -> None:
        """Write both ways to call it."""
        super().format_usage(ctx, formatter)
        formatter.write_usage(ctx.command_path, "COMMAND [ARGS]...", prefix=" " * len("Usage: "))

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments, the options, then the commands of the group."""
        super().format_options(ctx, formatter)
        self.group.format_commands(ctx, formatter)


def _written(parameter: Any) -> str:
    """An option as it is usually written, and an argument as the help calls it."""
    if isinstance(parameter, TyperArgument):
        return str(parameter.display_name_raw)
    for name in parameter.opts:
        if name.startswith("--"):
            return str(name)
    return str(parameter.opts[0])


class PlainGroup(TyperGroup):
    """A group of commands that shows its help where none of them is named."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments of the group itself."""
        # With `no_args_is_help`, Typer ends with an exit code that says it was a mistake.
        return super().parse_args(ctx, args or ["--help"])

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that is asked for; its module is imported here."""
        name, command, rest = super().resolve_command(ctx, args)
        if isinstance(command, _NotLoaded) and command.callback is not None:
            command = command.callback()
        if isinstance(command, Job) and command.has(rest):
            command = command.group
        return name, command, rest


def new_app(
    summary: str, commands: Mapping[str, Command] | None = None, **settings: Any
) -> typer.Typer:
    """An application, or a part of one, with such help.

    Args:
        summary: What it is for.
        commands: Those that are imported only where they are asked for.
        settings: More for `typer.Typer`.
    """
    app = typer.Typer(help=summary, cls=PlainGroup, rich_markup_mode=None, **settings)
    for name, command in (commands or {}).items():
        app.command(name, cls=_NotLoaded, short_help=command.summary)(command.load)
    return app
