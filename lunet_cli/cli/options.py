"""Arguments and options that several commands share."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from lunet_cli.cli.wording import reworded
from lunet_cli.errors import ConfigError

if TYPE_CHECKING:
    from lunet_cli.config.options import Options

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
Tta = Annotated[
    bool,
    typer.Option(
        "--tta",
        help="Average over the eight mirrorings; for networks trained with mirrored volumes.",
    ),
]
Window = Annotated[
    str | None,
    typer.Option(
        metavar="DxHxW|whole",
        help="Voxels that the network sees at once; as it was trained if not given.",
    ),
]
Overlap = Annotated[
    float,
    typer.Option(
        metavar="SHARE", min=0, max=0.9, help="Share of a window that neighbours have in common."
    ),
]
BatchSize = Annotated[int, typer.Option(metavar="N", min=1, help="Windows per forward pass.")]
MaxMemory = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE", help="Memory that may be used, such as 4G; what needs more is refused."
    ),
]
Device = Annotated[Literal["auto", "cpu", "cuda", "mps"], typer.Option(help="Where to compute.")]
Precision = Annotated[
    Literal["auto", "fp32", "bf16", "fp16"],
    typer.Option(
        help="Arithmetic; auto takes that in which the network was validated, where the device has it."
    ),
]
Runtime = Annotated[
    Literal["auto", "torch", "eager", "torch-compile", "onnx", "openvino"] | None,
    typer.Option(
        help="What computes; auto takes the usually fastest that is installed, if the job is long."
    ),
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

DEFAULT_OVERLAP = 0.5
DEFAULT_BATCH_SIZE = 2
_UNITS_MIB = {"": 1.0, "k": 1 / 1024, "m": 1.0, "g": 1024.0, "t": 1024.0**2}


def option(model: type[Options], field: str, *names: str, **settings: Any) -> Any:
    """The option for a field: its help is the description that stands with the field.

    Args:
        model: Options of a job.
        field: One of its fields; the argument of the command has its name, so that what the engine
            says of the field is told of the option.
        names: How it is written; the field with dashes if none is given.
        settings: More for `typer.Option`.
    """
    written = names or (f"--{field.replace('_', '-')}",)
    # The backticks that are left mark words for the documentation; a terminal shows them plainly.
    description = reworded(model.model_fields[field].description or "").replace("`", "")
    return typer.Option(*written, help=description, **settings)


def default(model: type[Options], field: str) -> Any:
    """The default of a field."""
    return model.model_fields[field].default


def parse_window(text: str | None) -> tuple[int, int, int] | Literal["whole"] | None:
    """Window from `96`, `96x96x64` or `whole`.

    Raises:
        ConfigError: It is none of these.
    """
    if text is None:
        return None
    if text == "whole":
        return "whole"
    edges = text.lower().split("x")
    if len(edges) not in (1, 3) or not all(
        edge.isdigit() and 1 <= int(edge) <= 4096 for edge in edges
    ):
        raise ConfigError(
            f"--window {text}: is not a window", hint="Write 96, 96x96x64 (z, y, x) or whole."
        )
    depth, height, width = (int(edge) for edge in (edges * 3 if len(edges) == 1 else edges))
    return depth, height, width


def parse_memory(text: str | None) -> float | None:
    """MiB from `4G`, `800M`, `2GiB` or `512` (MiB).

    Raises:
        ConfigError: It is not a size.
    """
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?", text.strip().lower())
    if match is None:
        raise ConfigError(
            f"--max-memory {text}: is not a size", hint="Write 4G, 800M or a number of MiB."
        )
    return float(match[1]) * _UNITS_MIB[match[2]]
