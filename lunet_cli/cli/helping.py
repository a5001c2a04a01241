"""How `--help` looks: plain lines that fit a narrow terminal, with words for values instead of types of Python."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup

from lunet_cli.cli.wording import speak_of


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
                arguments.append(
                    (parameter.display_name_raw, record[1].removesuffix("[required]").rstrip())
                )
            else:
                options.append(record)
        for heading, rows in (("Arguments", arguments), ("Options", options)):
            if rows:
                with formatter.section(heading):
                    formatter.write_dl(rows)


def _written(parameter: Any) -> str:
    """An option as it is usually written, and an argument as the help calls it."""
    if isinstance(parameter, TyperArgument):
        return str(parameter.display_name_raw)
    long = [str(name) for name in parameter.opts if name.startswith("--")]
    return long[0] if long else str(parameter.opts[0])


class PlainGroup(TyperGroup):
    """A group of commands that shows its help where none of them is named."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments of the group itself."""
        return super().parse_args(ctx, args or ["--help"])


def new_app(summary: str, **settings: Any) -> typer.Typer:
    """An application, or a part of one, with such help."""
    return typer.Typer(help=summary, cls=PlainGroup, rich_markup_mode=None, **settings)
