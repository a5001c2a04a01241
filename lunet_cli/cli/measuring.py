"""What `lunet eval` and `lunet score` share: their options, and what they print."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lunet_cli.cli.options import option
from lunet_cli.cli.wording import show_progress
from lunet_cli.config.options import EvaluationOptions
from lunet_cli.errors import EXIT_FAILURE, EXIT_INTERRUPTED, ConfigError

if TYPE_CHECKING:
    from lunet_cli.results.evaluation import EvalResult
    from lunet_cli.results.events import Event

USUAL_EVALUATION = EvaluationOptions()

Labels = Annotated[
    list[str] | None,
    typer.Option(
        "--label",
        metavar="NAME=VALUE[,VALUE]",
        help="Name a label of what does not say; repeatable.",
    ),
]
Metrics = Annotated[
    list[str] | None, option(EvaluationOptions, "metrics", "--metric", metavar="NAME")
]
ToleranceMm = Annotated[
    float, option(EvaluationOptions, "tolerance_mm", "--tolerance", metavar="MM")
]
Undefined = Annotated[Literal["count", "diagonal"], option(EvaluationOptions, "undefined")]


def parse_labels(texts: list[str] | None) -> dict[str, tuple[int, ...]] | None:
    """Labels from `NAME=VALUE[,VALUE]`; None where there are none.

    Raises:
        ConfigError: One of them is not a label.
    """
    found: dict[str, tuple[int, ...]] = {}
    for text in texts or ():
        name, _, values = text.partition("=")
        numbers = values.split(",")
        are_values = all(number.isdigit() and int(number) > 0 for number in numbers)
        if not (name and are_values):
            raise ConfigError(
                f"--label {text}: is not a label", hint="Write anterior=1, or whole=1,2."
            )
        if name in found:
            raise ConfigError(
                f"--label {text}: {name} is named twice", hint="Write several values as whole=1,2."
            )
        found[name] = tuple(map(int, numbers))
    return found or None


@contextlib.contextmanager
def measuring() -> Iterator[Callable[[Event], None]]:
    """Yield a function that shows events; an interruption has written nothing."""
    from lunet_cli.render.console import make_status_console

    status = make_status_console()
    try:
        with show_progress(status) as on_event:
            yield on_event
    except KeyboardInterrupt:
        status.print("Interrupted; nothing was written.")
        raise typer.Exit(EXIT_INTERRUPTED) from None


def print_result(result: EvalResult, *, as_json: bool) -> None:
    """Print what was measured; end with an error if a case could not be used."""
    from lunet_cli.records.record import json_text
    from lunet_cli.render.console import make_console
    from lunet_cli.render.tables import eval_table

    if as_json:
        typer.echo(json_text(result), nl=False)
    else:
        make_console().print(eval_table(result))
    if result.failures:
        raise typer.Exit(EXIT_FAILURE)
