"""What an exported file says about the network in it, and the weights of those without a graph."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from lunet_cli.engine.checkpoints.tensors import plain_tensors
from lunet_cli.engine.runtimes.exported_graph import METADATA_KEY, GraphFormat, format_of
from lunet_cli.engine.runtimes.runtime import require_packages
from lunet_cli.errors import CheckpointError
from lunet_cli.records.export import ExportMetadata
from lunet_cli.records.files import require_file
from lunet_cli.records.record import parse_record

SAFETENSORS_SUFFIX = ".safetensors"


def is_exported(path: Path) -> bool:
    """Whether the name of a file is that of an export."""
    return format_of(path) is not None or path.suffix == SAFETENSORS_SUFFIX


def read_metadata(path: Path) -> ExportMetadata:
    """What an exported file says: the card of the network and how it was written.

    Raises:
        CheckpointError: The file is missing, damaged, or was not written by lunet.
        MissingDependencyError: Reading it needs a package that is not installed.
    """
    require_file(path, error=CheckpointError)
    text = _read_text(path, format_of(path))
    if not text:
        raise CheckpointError(
            f"{path}: was not written by `export()`",
            hint="`export()` writes into the file what a prediction has to know.",
        )
    place = f"{path}: what it says of itself"
    facts = parse_record(
        ExportMetadata, text.encode("utf-8", "surrogateescape"), place, error=CheckpointError
    )
    wanted = format_of(path) or "safetensors"
    if facts.format != wanted:
        raise CheckpointError(
            f"{place}: is the description of a file of {facts.format}, not of {wanted}"
        )
    return facts


def read_weights(path: Path) -> dict[str, Tensor]:
    """The weights in a safetensors file, in float32.

    Raises:
        CheckpointError: The file is damaged, or holds tensors of other types.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: is damaged ({error})") from None
    weights = plain_tensors(tensors, "weights", path)
    for name, tensor in weights.items():
        # Kernels may be kept in fp16; counters of batches stay integers.
        if tensor.is_floating_point():
            weights[name] = tensor.float()
    return weights


def _read_text(path: Path, graph_format: GraphFormat | None) -> str:
    """The JSON inside a file; empty if there is none."""
    if graph_format == "onnx":
        require_packages("onnx", "onnx", "onnxruntime")
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
        raise CheckpointError(f"{path}: is damaged or not a safetensors file ({error})") from None
