"""What the engine says of fields and jobs, in the words of the command line.

The engine speaks to Python: between backticks it names fields (`max_memory_mib`), fields with the
value that they should get (`resume=auto`), keys of a configuration (`training.epochs=20`) and jobs
(`evaluate(RUN, data=FOLDER)`). Here they become `--max-memory`, `--resume auto`,
`--set training.epochs=20` and `lunet eval RUN --data FOLDER`, quoted as a shell needs it.

Messages hold names of strangers too, and these may hold backticks. So only what is known is put
into other words: an option of the command that runs, a key below a section, a job. All else,
backticks included, stays as it is.
"""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from lunet_cli.results.events import Event

_PHRASE = re.compile(
    r"""
    (?<![\w`])`                                         # within a word, it is a part of a name
    (?: (?P<command>lunet\ [^`\n]*)
      | (?P<job>\w+) \( (?P<arguments>[^`\n]*) \)
      | (?P<field>\w+ (?:\.[^=`\n]+)?) (?:=(?P<value>[^`\n]*))?
    )
    `(?![\w`])
    """,
    re.VERBOSE,
)
_JOBS = {
    "train": "train",
    "predict": "predict",
    "evaluate": "eval",
    "score": "score",
    "compare": "compare",
    "export": "export",
    "benchmark": "bench",
    "report": "report",
    "prune": "prune",
    "shrink": "shrink",
    "study": "study",
    "list_models": "models list",
    "require_model": "models show",
    "add_model": "models add",
    "remove_model": "models remove",
    "viz_curves": "viz curves",
    "viz_slices": "viz slices",
    "viz_volume": "viz volume",
    "viz_network": "viz network",
    "viz_pareto": "viz pareto",
}
# Fields whose options have other names; these are for jobs that do not run, since the command that
# runs knows its own.
_OPTIONS = {"max_memory_mib": "--max-memory", "tolerance_mm": "--tolerance", "metrics": "--metric"}
# Values that are written as options of their own.
_FLAGS = {("weights", "int8"): "--int8", ("weights", "fp16"): "--half"}
_own_options: ContextVar[Mapping[str, str]] = ContextVar("own_options")


def speak_of(options: Iterable[tuple[str, str]]) -> None:
    """Take the options of the command that runs: pairs of a field and its option or argument."""
    _own_options.set(dict(options))


def call_also(key: str, option: str) -> None:
    """Let an option of the command that runs stand for a key of the configuration."""
    _own_options.set({**_own_options.get({}), key: option})


def reworded(text: str) -> str:
    """The text with every field, key and job between backticks as the command line writes it."""
    return _PHRASE.sub(_on_command_line, text)


@contextlib.contextmanager
def show_progress(console: Console) -> Iterator[Callable[[Event], None]]:
    """Yield a function that shows events on `console`, in the words of the command line."""
    from lunet_cli.render.progress import report_progress

    with report_progress(console, reworded) as on_event:
        yield on_event


def _on_command_line(phrase: re.Match[str]) -> str:
    field, value = phrase["field"], phrase["value"]
    if phrase["command"]:
        return phrase["command"]
    if phrase["job"] in _JOBS:
        return _command(phrase["job"], phrase["arguments"])
    options = _own_options.get({})
    # What a command takes several times is a field in the plural; messages are about one of them.
    option = _FLAGS.get((field, value)) or options.get(field) or options.get(f"{field}s")
    if option is not None:
        return " ".join(_written(option, value))
    if field is not None and _is_key(field):
        return field if value is None else shlex.join(["--set", f"{field}={value}"])
    if value is None and field in _fields_of_jobs():
        return field  # The command that runs has no option for it.
    return phrase[0]


def _fields_of_jobs() -> set[str]:
    from lunet_cli.config import options

    fields: set[str] = set()
    for found in vars(options).values():
        if isinstance(found, type) and issubclass(found, options.Options):
            fields.update(found.model_fields)
    return fields


def _command(job: str, arguments: str) -> str:
    words = ["lunet", _JOBS[job]]
    for argument in filter(None, arguments.split(", ")):
        field, equals, value = argument.partition("=")
        if equals and _is_key(field):
            words += ["--set", shlex.quote(argument)]
        elif not (equals and field.isidentifier() and field.islower()):
            words.append(shlex.quote(argument))  # A path, which may hold "=" itself.
        else:
            option = _OPTIONS.get(field, f"--{field.replace('_', '-')}")
            words += _written(_FLAGS.get((field, value), option), value)
    return " ".join(words)


def _written(option: str, value: str | None) -> list[str]:
    """An option with its value; a flag has none."""
    if value in (None, "True") or option in _FLAGS.values():
        return [option]
    return [option, shlex.quote(value)]


def _is_key(name: str) -> bool:
    section, dot, _ = name.partition(".")
    if not dot:
        return False
    from lunet_cli.config.run import RunConfig

    return section in RunConfig.model_fields
