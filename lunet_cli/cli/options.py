"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

from lunet_cli.cli.wording import reworded

if TYPE_CHECKING:
    from lunet_cli.config.base import Section


def complete_model(incomplete: str) -> list[str]:
    """Names of models that a shell offers; where none fits, it offers files by itself."""
    from lunet_cli.records.model_folder import known_names

    return [name for name in known_names() if name.startswith(incomplete)]


MODEL_HELP = "A best_model.pt, its run folder, an exported file, or a name of lunet models list."
Model = Annotated[
    Path, typer.Argument(metavar="MODEL", help=MODEL_HELP, autocompletion=complete_model)
]
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
    typer.Option(
        "--ensemble",
        metavar="MODEL",
        help="Average with this one too; repeatable.",
        autocompletion=complete_model,
    ),
]


def option(model: type[Section], field: str, *names: str, **settings: Any) -> Any:
    """The option for a field: its help is the description that stands with the field.

    Args:
        model: Options of a job, or a section of a configuration.
        field: One of its fields; the argument of the command has its name, so that what the engine
            says of the field is told of the option.
        names: How it is written; the field with dashes if none is given.
        settings: More for `typer.Option`.
    """
    written = names or (f"--{field.replace('_', '-')}",)
    info = model.model_fields[field]
    # The backticks that are left mark words for the documentation; a terminal shows them plainly.
    description = reworded(info.description or "").replace("`", "")
    description += _limits(info)
    if get_origin(info.annotation) is tuple and get_args(info.annotation)[1:] == (...,):
        description += " Repeatable."
    return typer.Option(*written, help=description, **settings)


def _limits(info: FieldInfo) -> str:
    """A sentence with the range of a number, or of each of several; empty where there is none."""
    metadata = list(info.metadata)
    for argument in get_args(info.annotation):
        # Of `Annotated[int, Field(ge=1)]`, which may lie within a tuple or beside None.
        for field in getattr(argument, "__metadata__", ()):
            metadata += getattr(field, "metadata", ())
    least = [limit.ge for limit in metadata if hasattr(limit, "ge")]
    most = [limit.le for limit in metadata if hasattr(limit, "le")]
    if least and most:
        return f" From {least[0]:,} to {most[0]:,}."
    if least:
        return f" At least {least[0]:,}."
    return ""
