"""What an exported file says about the network in it; docs/export.md describes it for other programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import Tensor

from lunet_cli.engine.runtimes.exported import METADATA_KEY, GraphFormat, format_of
from lunet_cli.engine.runtimes.runtime import require_packages
from lunet_cli.errors import CheckpointError

EXPORT_VERSION = 1
VERSION_KEY = "lunet_export_version"
SAFETENSORS_SUFFIX = ".safetensors"


def is_exported(path: Path) -> bool:
    """Whether the name of a file is that of an export."""
    return format_of(path) is not None or path.suffix == SAFETENSORS_SUFFIX


def read_metadata(path: Path) -> dict[str, Any]:
    """What an exported file says: the card of the network and how it was written.

    Raises:
        CheckpointError: The file is missing, damaged, or was not written by lunet.
        MissingDependencyError: Reading it needs a package that is not installed.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no such file")
    text = _read_text(path, format_of(path))
    if not text:
        raise CheckpointError(
            f"{path}: was not written by lunet export",
            hint="lunet export writes what predict has to know into the file.",
        )
    try:
        values: dict[str, Any] = json.loads(text)
        version = values[VERSION_KEY]
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: what it says of itself is damaged ({error!r})") from None
    if version != EXPORT_VERSION:
        raise CheckpointError(
            f"{path}: has export format {version}, this lunet reads format {EXPORT_VERSION}",
            hint="Use the version of lunet that wrote it, or export again.",
        )
    return values


def read_weights(path: Path) -> dict[str, Tensor]:
    """The weights in a safetensors file, in float32."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: is damaged ({error})") from None
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}


def _read_text(path: Path, graph_format: GraphFormat | None) -> str:
    """The JSON inside a file; empty if there is none."""
    if graph_format == "onnx":
        require_packages("onnx", "onnxruntime")
        from lunet_cli.engine.runtimes.onnx_runtime import read_onnx_metadata

        return read_onnx_metadata(path)
    if graph_format == "openvino":
        require_packages("openvino", "openvino")
        from lunet_cli.engine.runtimes.openvino_runtime import read_openvino_metadata

        return read_openvino_metadata(path)
    if graph_format == "torch-export":
        from lunet_cli.engine.runtimes.torch_runtime import read_program_metadata

        return read_program_metadata(path)
    require_packages("safetensors", "safetensors")
    return _read_safetensors_metadata(path)


def _read_safetensors_metadata(path: Path) -> str:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return str((file.metadata() or {}).get(METADATA_KEY, ""))
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: is damaged or no safetensors file ({error})") from None
