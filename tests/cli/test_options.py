from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Any

import pytest
import typer
from typer.core import TyperGroup

from lunet_cli.cli.app import app
from lunet_cli.cli.helping import PlainCommand
from lunet_cli.cli.options import option
from lunet_cli.config import options
from lunet_cli.config.options import EvaluationOptions, Options, PredictionOptions


def option_classes() -> list[type[Options]]:
    found = vars(options).values()
    return [one for one in found if isinstance(one, type) and issubclass(one, Options)][1:]


def commands(group: TyperGroup, *above: str) -> Iterator[tuple[str, Any]]:
    """Every command of the application, loaded."""
    context = typer.Context(group, resilient_parsing=True)
    for name in group.list_commands(context):
        _, command, _ = group.resolve_command(context, [name])
        if isinstance(command, TyperGroup):
            yield from commands(command, *above, name)
        else:
            yield " ".join((*above, name)), command


COMMANDS = dict(commands(typer.main.get_group(app)))


def alone(command: Callable[..., None]) -> PlainCommand:
    application = typer.Typer(add_completion=False)
    application.command(cls=PlainCommand)(command)
    return typer.main.get_command(application)


def test_name_help_and_default_are_those_of_the_field() -> None:
    def command(
        batch_size: Annotated[int, option(PredictionOptions, "batch_size", metavar="N")] = 2,
        tolerance: Annotated[float, option(EvaluationOptions, "tolerance_mm", "--tol", "-t")] = 0,
    ) -> None: ...

    first, second, *_ = alone(command).params
    assert (first.opts, first.metavar) == (["--batch-size"], "N")
    description = PredictionOptions.model_fields["batch_size"].description
    assert first.help == f"{description} At least 1."
    assert second.opts == ["--tol", "-t"]


def test_descriptions_are_told_in_the_words_of_the_command_line() -> None:
    for model in option_classes():
        for field in model.model_fields:
            told = option(model, field).help
            assert told.endswith("."), field
            assert not set("\n`") & set(told), field


@pytest.mark.parametrize("name", COMMANDS)
def test_an_argument_that_stands_for_a_field_is_called_as_the_field(name: str) -> None:
    """That is how a field that the engine speaks of is told as the option of the command."""
    descriptions: dict[str, set[str]] = {}
    for model in option_classes():
        for field in model.model_fields:
            descriptions.setdefault(option(model, field).help, set()).add(field)
    for parameter in COMMANDS[name].params:
        fields = descriptions.get(getattr(parameter, "help", None) or "")
        if fields is not None:
            assert parameter.name in fields, f"{name}: {parameter.opts}"


def test_all_commands_are_seen() -> None:
    assert {"train", "predict", "eval", "presets list", "config check", "viz slices"} <= set(
        COMMANDS
    )
