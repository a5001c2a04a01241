"""One function per format that writes a network with what it says of itself."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor

from lunet_cli.engine.checkpoints.exported_files import SAFETENSORS_SUFFIX
from lunet_cli.engine.exporting.quantization import quantize_onnx, quantize_openvino
from lunet_cli.engine.networks.blocks import SegmentationNetwork
from lunet_cli.engine.runtimes.exported_graph import METADATA_KEY, SUFFIXES
from lunet_cli.engine.runtimes.runtime import require_packages
from lunet_cli.engine.runtimes.tracing import Size
from lunet_cli.errors import ConfigError
from lunet_cli.records.export import ExportMetadata
from lunet_cli.records.record import compact_json

ExportFormat = Literal["onnx", "openvino", "torch-export", "safetensors"]
FORMATS: tuple[ExportFormat, ...] = get_args(ExportFormat)
Weights = Literal["fp32", "fp16", "int8"]
Writer = Callable[
    [SegmentationNetwork, Size, Path, ExportMetadata, Weights, Sequence[Tensor]], None
]

_PACKAGES: dict[ExportFormat, tuple[str, ...]] = {
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "openvino": ("openvino",),
    "safetensors": ("safetensors",),
}


def suffix_of(name: ExportFormat) -> str:
    """The suffix of the file with the network."""
    return SAFETENSORS_SUFFIX if name == "safetensors" else SUFFIXES[name]


def require_possible(name: ExportFormat, weights: Weights) -> None:
    """Raise if a format cannot hold such weights, or cannot be written here.

    Raises:
        ConfigError: The format has no such weights.
        MissingDependencyError: A package is not installed.
    """
    if weights == "int8" and name not in ("onnx", "openvino"):
        raise ConfigError(
            f"--int8: {name} has no quantised networks here", hint="Take --format onnx or openvino."
        )
    if weights == "fp16" and name == "torch-export":
        raise ConfigError(
            "--half: PyTorch has no fp16 convolution on every CPU",
            hint="Take --format onnx, openvino or safetensors.",
        )
    require_packages(name, *_PACKAGES.get(name, ()))
    if weights == "int8" and name == "openvino":
        require_packages("nncf", "nncf")


def write_format(
    name: ExportFormat,
    network: SegmentationNetwork,
    window: Size,
    path: Path,
    metadata: ExportMetadata,
    weights: Weights,
    calibration: Sequence[Tensor],
) -> None:
    """Write a network to `path`, and what stands beside it in files of the same stem.

    Args:
        name: The format.
        network: The network, in evaluation mode.
        window: Voxels (D, H, W) that a graph gives the network at least; see `trace`.
        path: The file.
        metadata: What is kept inside the file.
        weights: How the weights are kept.
        calibration: Windows (C, D, H, W) of one size, for `int8`.
    """
    writers: dict[ExportFormat, Writer] = {
        "onnx": _write_onnx,
        "openvino": _write_openvino,
        "torch-export": _write_program,
        "safetensors": _write_safetensors,
    }
    writers[name](network, window, path, metadata, weights, calibration)


def _write_onnx(
    network: SegmentationNetwork,
    window: Size,
    path: Path,
    metadata: ExportMetadata,
    weights: Weights,
    calibration: Sequence[Tensor],
) -> None:
    import onnx

    from lunet_cli.engine.runtimes.onnx_runtime import to_onnx

    model = to_onnx(network, window)
    if weights == "fp16":
        from onnxruntime.transformers.float16 import convert_float_to_float16

        model = convert_float_to_float16(model, keep_io_types=True)
    elif weights == "int8":
        model = quantize_onnx(model, calibration)
    onnx.helper.set_model_props(model, {METADATA_KEY: compact_json(metadata)})
    onnx.save_model(model, path)


def _write_openvino(
    network: SegmentationNetwork,
    window: Size,
    path: Path,
    metadata: ExportMetadata,
    weights: Weights,
    calibration: Sequence[Tensor],
) -> None:
    import openvino

    from lunet_cli.engine.runtimes.openvino_runtime import to_openvino

    model = to_openvino(network, window)
    if weights == "int8":
        model = quantize_openvino(model, calibration)
    model.set_rt_info(compact_json(metadata), METADATA_KEY)
    openvino.save_model(model, path, compress_to_fp16=weights == "fp16")


def _write_program(
    network: SegmentationNetwork,
    window: Size,
    path: Path,
    metadata: ExportMetadata,
    weights: Weights,
    calibration: Sequence[Tensor],
) -> None:
    from lunet_cli.engine.runtimes.torch_runtime import METADATA_FILE
    from lunet_cli.engine.runtimes.tracing import drop_assertions, quiet, trace

    assert weights == "fp32"
    assert not calibration
    program = trace(network, window)
    drop_assertions(program)
    # The input it was traced with and notes on the Python behind each node weigh far more than a
    # lean network.
    program.example_inputs = None
    for node in program.graph.nodes:
        for note in ("stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn", "from_node"):
            node.meta.pop(note, None)
    with quiet():
        torch.export.save(program, path, extra_files={METADATA_FILE: compact_json(metadata)})


def _write_safetensors(
    network: SegmentationNetwork,
    window: Size,
    path: Path,
    metadata: ExportMetadata,
    weights: Weights,
    calibration: Sequence[Tensor],
) -> None:
    from safetensors.torch import save

    assert not calibration
    tensors = {
        name: tensor.contiguous() for name, tensor in copy.deepcopy(network).state_dict().items()
    }
    if weights == "fp16":  # kernels only: a running variance may leave the range of fp16
        tensors = {
            name: tensor.half() if tensor.ndim == 5 else tensor for name, tensor in tensors.items()
        }
    path.write_bytes(save(tensors, metadata={METADATA_KEY: compact_json(metadata)}))
