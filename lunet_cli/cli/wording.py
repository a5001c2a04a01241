"""What the engine says of fields and jobs, in the words of the command line.

The engine speaks to Python: between backticks it names fields (`max_memory_mib`), fields with the
value that they should get (`resume=auto`), keys of a configuration (`training.epochs=20`) and jobs
(`evaluate(RUN, data=FOLDER)`). Here they become `--max-memory`, `--resume auto`,
`--set training.epochs=20` and `lunet eval RUN --data FOLDER`.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from lunet_cli.results.events import Event

_QUOTED = re.compile(r"`([^`\n]+)`")
_CALL = re.compile(r"(\w+)\((.*)\)")
_COMMANDS = {"evaluate": "eval", "benchmark": "bench"}
# Fields whose options are called otherwise than the field; the command that runs knows its own.
_OPTIONS = {"max_memory_mib": "--max-memory", "tolerance_mm": "--tolerance", "metrics": "--metric"}
# Values of a field that are written as options of their own.
_FLAGS = {"weights=int8": "--int8", "weights=fp16": "--half"}
_own_options: ContextVar[Mapping[str, str]] = ContextVar("own_options")


def speak_of(options: Iterable[tuple[str, str]]) -> None:
    """Take the options of the command that runs: pairs of a field and its option or argument."""
    _own_options.set(dict(options))


def reworded(text: str) -> str:
    """The text with every field, key and job between backticks as it is written on a command line."""
    return _QUOTED.sub(lambda match: _on_command_line(match[1]), text)


@contextlib.contextmanager
def show_progress(console: Console) -> Iterator[Callable[[Event], None]]:
    """Yield a function that shows events on `console`, in the words of the command line."""
    from lunet_cli.render.progress import report_progress

    with report_progress(console, reworded) as on_event:
        yield on_event


def _on_command_line(phrase: str) -> str:
    call = _CALL.fullmatch(phrase)
    if call is not None:
        return _command(call[1], call[2])
    field, equals, value = phrase.partition("=")
    if phrase in _FLAGS:
        return _FLAGS[phrase]
    options = _own_options.get({})
    # An option that a command takes several times is a field in the plural.
    option = options.get(field) or options.get(f"{field}s")
    if option is not None:
        return _with_value(option, value) if equals else option
    is_key = re.fullmatch(r"\w+(\.[\w-]+)+", field) is not None
    if is_key and equals:
        return f"--set {phrase}"
    return phrase


def _command(job: str, arguments: str) -> str:
    words = ["lunet", *_COMMANDS.get(job, job).split("_")]
    for argument in filter(None, arguments.split(", ")):
        field, equals, value = argument.partition("=")
        if not equals:
            words.append(argument)
        elif "." in field:
            words.append(f"--set {argument}")
        else:
            option = _OPTIONS.get(field, f"--{field.replace('_', '-')}")
            words.append(_with_value(option, value))
    return " ".join(words)


def _with_value(option: str, value: str) -> str:
    is_flag = value == "True"
    return option if is_flag else f"{option} {value}"
