"""Write the pages of `docs/reference/` from the code that they describe; `--check` only compares.

python docs/reference.py [--check]
"""

from __future__ import annotations

import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import typer
from pydantic import BaseModel

import lunet_cli as lunet
from lunet_cli.cli.app import app
from lunet_cli.cli.helping import Job
from lunet_cli.config import options
from lunet_cli.config.metrics import METRICS
from lunet_cli.config.network_cost import count_conv_flops, count_parameters
from lunet_cli.config.presets import named_presets
from lunet_cli.config.run import RunConfig
from lunet_cli.records.model_folder import list_models
from lunet_cli.render.model_tables import WARNING, facts, kilobytes, with_interval

FOLDER = Path(__file__).parent / "reference"
NOTE = "<!-- Written by docs/reference.py; do not edit. -->"

# What pydantic calls a kind of value, in the words of someone who writes YAML.
KINDS = {
    "array": "list",
    "boolean": "`true`, `false`",
    "integer": "integer",
    "null": "`null`",
    "number": "number",
    "object": "names and values",
    "string": "text",
}


def configuration_page() -> str:
    """Every key of a configuration, a table for each section."""
    parts = [
        "# Configuration keys",
        "Every key, its default, what it takes, and what it means. A configuration names only what "
        "differs from the defaults; on the command line, a key is `--set training.epochs=20`. "
        "`lunet config show` prints all of them, resolved.",
    ]
    for name, field in RunConfig.model_fields.items():
        rows = list(_key_rows(RunConfig, name, ""))
        parts += [f"## {name}", _described(field.annotation), _table("key", rows)]
    return _page(parts)


def options_page() -> str:
    """The options of each job, which the command line and Python share."""
    parts = [
        "# Options of the jobs",
        "What `lunet.predict`, `evaluate`, `shrink`, `export`, `benchmark` and `study` can be "
        "asked beside their inputs. They are keyword only and checked when they are made; the "
        "options of the commands have the same defaults and meanings.",
    ]
    for model in _option_classes(options.Options):
        rows = [row for name in model.model_fields for row in _key_rows(model, name, "")]
        parts += [f"## {model.__name__}", _described(model), _table("field", rows)]
    return _page(parts)


def _option_classes(base: type[options.Options]) -> Iterator[type[options.Options]]:
    """Classes of options; of those that share some, each with what they share."""
    for model in base.__subclasses__():
        if model.__subclasses__():
            yield from _option_classes(model)
        else:
            yield model


def commands_page() -> str:
    """Every command with its arguments and options."""
    group: Any = typer.main.get_command(app)
    parts = [
        "# Commands",
        "As `--help` shows them. Results go to stdout, progress and messages to stderr. Exit "
        "codes: 0 done, 2 wrong usage or configuration, 1 any other failure, 130 interrupted, 141 "
        "where the reader of a pipe has left (`| head`).",
    ]
    parts += _command_parts(group, typer.Context(group, info_name="lunet"))
    return _page(parts)


def python_page() -> str:
    """Every public name of the package."""
    parts = [
        "# Python",
        "`import lunet_cli as lunet` takes no time: each name is imported when it is first used. "
        "[Use from Python](../python.md) has examples.",
    ]
    named = {name: getattr(lunet, name) for name in lunet.__all__}
    # What stands for a class with its types filled in is told as the class.
    named = {name: get_origin(found) or found for name, found in named.items()}
    functions = {name: found for name, found in named.items() if inspect.isfunction(found)}
    classes = {
        name: found
        for name, found in named.items()
        if inspect.isclass(found) and not issubclass(found, BaseModel)
    }
    for name, function in functions.items():
        parts += [f"## lunet.{name}", _signature(name, function), _docstring(function)]
    for name, found in classes.items():
        parts += [f"## lunet.{name}", _docstring(found)]
        for method, function in inspect.getmembers(found, inspect.isfunction):
            if _is_public_method(found, method, function):
                heading = f"### {name}.{method}"
                parts += [heading, _signature(method, function), _docstring(function)]
    parts.append("The classes of options stand in [Options of the jobs](options.md).")
    return _page(parts)


def metrics_page() -> str:
    """The metrics and their definitions."""
    rows = ["| metric | column | better | definition |", "|---|---|---|---|"]
    for name, metric in METRICS.items():
        rows.append(
            f"| {metric.short} | `{metric.column(name)}` | {metric.better} "
            f"| {_cell(metric.definition)} |"
        )
    return _page(
        [
            "# Metrics",
            "P is the predicted mask, R the reference. The columns are those of `metrics.csv`; "
            "[How metrics are defined](../metrics.md) tells why they are as they are.",
            "\n".join(rows),
        ]
    )


def presets_page() -> str:
    """The named networks."""
    head = (
        "| preset | levels | channels per level | convs per block | parameters "
        "| conv GFLOP at 64^3 |\n|---|--:|---|--:|--:|--:|"
    )
    rows = [
        f"| `{name}` | {spec.num_levels} | {' '.join(map(str, spec.channels))} "
        f"| {spec.convs_per_block} | {count_parameters(spec):,} "
        f"| {count_conv_flops(spec) / 1e9:.3f} |"
        for name, spec in ((preset.name, preset.spec) for preset in named_presets())
    ]
    return _page(
        [
            "# Presets",
            "Names are a grammar: `{unet|lunet|unetpp|lunetpp}_{small|large}_{N}f` for any N up to "
            "9999, so `lunet_small_8f` or `unetpp_large_16f` work too, as do the official MedNeXt "
            "sizes `mednext_s`, `mednext_b`, `mednext_m`, `mednext_l` (add `_k5` for kernel 5). "
            f"The {len(rows)} named ones, with one image and one output channel:",
            "\n".join([head, *rows]),
        ]
    )


def models_page() -> str:
    """The models of the package."""
    parts = [
        "# Models",
        f"{WARNING} [Use ready models](../models.md) tells how. Dice with its 95 % bootstrap "
        "interval over the cases that the page of each model names.",
    ]
    pages = [found.page for found in list_models().models if found.is_shipped]
    rows = ["| model | parameters | kB | Dice |", "|---|--:|--:|---|"]
    for page in pages:
        if page.dice is None:
            continue
        name = f"[`{page.name}`](#{page.name})"
        if page.also_called is not None:
            name += f" (`{page.also_called}`)"
        dice = with_interval(page.dice.overall)
        rows.append(f"| {name} | {page.num_parameters:,} | {kilobytes(page)} | {dice} |")
    parts.append("\n".join(rows))
    for page in pages:
        rows = ["| | |", "|---|---|"]
        rows += [f"| {heading} | {_cell(text)} |" for heading, text in facts(page)]
        if page.dice is not None:
            rows.append(f"| measured on | {_cell(page.dice.on)} |")
            rows += [f"| Dice, {row.label} | {with_interval(row)} |" for row in page.dice.labels]
        parts += [f"## {page.name}", "\n".join(rows)]
    return _page(parts)


PAGES: dict[str, Callable[[], str]] = {
    "commands.md": commands_page,
    "configuration.md": configuration_page,
    "metrics.md": metrics_page,
    "models.md": models_page,
    "options.md": options_page,
    "presets.md": presets_page,
    "python.md": python_page,
}


def main() -> None:
    """Write all pages, or name those that are out of date."""
    stale = []
    for name, write in PAGES.items():
        path, text = FOLDER / name, write()
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if "--check" not in sys.argv:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
    if "--check" in sys.argv and stale:
        sys.exit(f"docs/reference: {', '.join(stale)} out of date; run python docs/reference.py")


def _page(parts: list[str]) -> str:
    return "\n\n".join([parts[0], NOTE, *(part for part in parts[1:] if part)]) + "\n"


def _table(first: str, rows: list[str]) -> str:
    return "\n".join([f"| {first} | default | takes | meaning |", "|---|---|---|---|", *rows])


def _key_rows(model: type[BaseModel], name: str, prefix: str) -> Iterator[str]:
    """A row for a field, or one for each field of the section that it is."""
    field = model.model_fields[name]
    if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
        for inner in field.annotation.model_fields:
            yield from _key_rows(field.annotation, inner, f"{prefix}{name}.")
        return
    schema = model.model_json_schema()
    takes = _values(schema["properties"][name], schema.get("$defs", {}))
    default = "needed" if field.is_required() else f"`{_default(field.get_default())}`"
    yield f"| `{prefix}{name}` | {default} | {takes} | {_cell(field.description)} |"


def _values(schema: dict[str, Any], definitions: dict[str, Any]) -> str:
    """What a part of a JSON schema allows, in words."""
    if "$ref" in schema:
        schema = definitions[schema["$ref"].rsplit("/", 1)[1]]
    for union in ("anyOf", "oneOf"):
        if union in schema:
            kinds = [_values(part, definitions) for part in schema[union]]
            return " or ".join(dict.fromkeys(kinds))
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    kind = KINDS.get(str(schema.get("type")), "")
    bounds = [
        f"{sign} {_number(schema[key])}"
        for key, sign in (
            ("minimum", "≥"),
            ("exclusiveMinimum", ">"),
            ("maximum", "≤"),
            ("exclusiveMaximum", "<"),
        )
        if key in schema
    ]
    return f"{kind} {', '.join(bounds)}".strip()


def _number(value: float) -> str:
    return f"{int(value):,}" if value == int(value) else f"{value:g}"


def _default(value: Any) -> str:
    """A default as it is written in YAML."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return str(list(value)) if isinstance(value, tuple) else str(value)


def _command_parts(command: Any, context: Any) -> Iterator[str]:
    """Headings, usage and tables of a command and of those below it."""
    for name in getattr(command, "commands", ()):
        # As a command line is resolved: a command is imported only where it is asked for.
        _, inner, _ = command.resolve_command(context, [name])
        yield from _command_parts(inner, typer.Context(inner, info_name=name, parent=context))
    if getattr(command, "commands", ()):
        return
    pieces = " ".join(command.collect_usage_pieces(context))
    usage = f"{context.command_path} {re.sub('[{}]', '', pieces)}"
    yield f"## {context.command_path}"
    yield _plain(command.help or "")
    yield f"```text\n{usage}\n```"
    rows = ["| argument or option | meaning |", "|---|---|"]
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None and parameter.name != "help":
            name = re.sub(r" <.*>$", "", record[0])
            rows.append(f"| {_cell(f'`{name}`')} | {_cell(record[1])} |")
    yield "\n".join(rows)
    if isinstance(command, Job):
        # What stands behind the same word is a group of its own, at the same place.
        group = typer.Context(command.group, info_name=context.info_name, parent=context.parent)
        yield from _command_parts(command.group, group)


def _signature(name: str, function: Any) -> str:
    """A function as it is called, an argument a line."""
    signature = inspect.signature(function)
    lines, has_star = [], False
    for parameter in signature.parameters.values():
        if parameter.name == "self":
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not has_star:
            lines.append("*")
            has_star = True
        default = re.sub(r"<function .*>", "ignore", str(parameter).replace("'", ""))
        lines.append(default)
    returned = str(signature.return_annotation).replace("'", "")
    body = "".join(f"\n    {line}," for line in lines) + "\n" * bool(lines)
    return f"```text\n{name}({body}) -> {returned}\n```"


def _docstring(found: Any) -> str:
    """A docstring in the style of Google as Markdown: sections in bold, their entries as a list."""
    parts: list[str] = []
    for block in inspect.cleandoc(found.__doc__ or "").split("\n\n"):
        title, _, rest = block.partition("\n")
        if title in ("Args:", "Raises:", "Returns:") and rest:
            parts.append(f"**{title.rstrip(':')}**\n\n{_entries(textwrap.dedent(rest))}")
        elif title in ("Example:", "Examples:"):
            parts.append(f"**Example**\n\n```pycon\n{textwrap.dedent(rest)}\n```")
        else:
            parts.append(_plain(block))
    return "\n\n".join(parts)


def _entries(text: str) -> str:
    """`name: meaning`, whose further lines are indented, as a list; other text as it is."""
    entries = re.findall(r"^(\w+): ((?:.|\n )*)", text, re.MULTILINE)
    if not entries:
        return _plain(text)
    return "\n".join(f"- `{name}`: {_cell(meaning)}" for name, meaning in entries)


def _is_public_method(found: type, name: str, function: Any) -> bool:
    return not name.startswith("_") and name in vars(found) and bool(function.__doc__)


def _described(annotation: Any) -> str:
    """What a model says of itself."""
    for model in (annotation, *get_args(annotation)):
        if isinstance(model, type) and issubclass(model, BaseModel):
            return _plain(inspect.cleandoc(model.__doc__ or ""))
    return ""


def _plain(text: str) -> str:
    """Text whose angle brackets, but for those in code, are not HTML."""
    parts = text.split("`")
    parts[::2] = [part.replace("<", "&lt;") for part in parts[::2]]
    return "`".join(parts)


def _cell(text: str | None) -> str:
    """Text in a table: a pipe in code ends the cell for one Markdown, and not for another."""
    pieces = []
    for index, piece in enumerate(_plain(" ".join((text or "").split())).split("`")):
        is_code = index % 2 == 1
        safe = piece.replace("|", "&#124;")
        if is_code and safe == piece:
            pieces.append(f"`{piece}`")
        elif is_code:
            pieces.append(f"<code>{safe.replace('<', '&lt;')}</code>")
        else:
            pieces.append(safe)
    return "".join(pieces)


if __name__ == "__main__":
    main()
