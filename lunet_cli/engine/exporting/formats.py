"""One function per format that writes a network with what it says of itself."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from lunet_cli.config.vocabulary import ExportFormat, FileFormat, Size, WeightPrecision
from lunet_cli.engine.checkpoints.exported_files import SAFETENSORS_SUFFIX
from lunet_cli.engine.exporting.browser.network import for_browser
from lunet_cli.engine.exporting.quantization import quantize_onnx, quantize_openvino
from lunet_cli.engine.networks.blocks import SegmentationNetwork
from lunet_cli.engine.runtimes.exported_graph import METADATA_KEY, SUFFIXES
from lunet_cli.engine.runtimes.runtime import require_packages
from lunet_cli.records.export import ExportMetadata
from lunet_cli.records.record import compact_json

Writer = Callable[[SegmentationNetwork, Path, ExportMetadata, Size, Sequence[Tensor]], None]

_PACKAGES: dict[FileFormat, tuple[str, ...]] = {
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "openvino": ("openvino",),
    "safetensors": ("safetensors",),
}


def graph_format(name: ExportFormat) -> FileFormat:
    """The format of the file that computes, which a page or a MONAI bundle holds."""
    if name == "html":
        return "onnx"
    if name == "monai-bundle":
        return "torch-export"
    return name


def suffix_of(name: ExportFormat) -> str:
    """What the name of a file, or of the folder of a bundle, ends in."""
    if name == "html":
        return ".html"
    if name == "monai-bundle":
        return "_bundle"
    if name == "safetensors":
        return SAFETENSORS_SUFFIX
    return SUFFIXES[name]


def require_installed(name: ExportFormat, weights: WeightPrecision) -> None:
    """Raise if a format cannot be written here.

    Raises:
        MissingDependencyError: A package is not installed.
    """
    # Extras are called as the formats of files.
    extra = graph_format(name)
    require_packages(extra, *_PACKAGES.get(extra, ()))
    if weights == "int8" and name == "openvino":
        require_packages("nncf", "nncf")


def prepared(network: SegmentationNetwork, name: ExportFormat) -> SegmentationNetwork:
    """The network as it is written; a browser has its own fast operations."""
    return for_browser(network) if name == "html" else network


def write_format(
    network: SegmentationNetwork,
    path: Path,
    metadata: ExportMetadata,
    *,
    window: Size,
    calibration: Sequence[Tensor] = (),
) -> None:
    """Write a network to `path`, and what stands beside it in files of the same stem.

    Args:
        network: The network, in evaluation mode.
        path: The file.
        metadata: What is kept inside the file: the format that is written, and how the weights are
            kept, among others.
        window: Voxels (D, H, W) that a graph gives the network at least; see `trace`.
        calibration: Windows (C, D, H, W) of one size, for `int8`.
    """
    writers: dict[FileFormat, Writer] = {
        "onnx": _write_onnx,
        "openvino": _write_openvino,
        "torch-export": _write_program,
        "safetensors": _write_safetensors,
    }
    writers[metadata.format](network, path, metadata, window, calibration)


def write_page(graph: Path, path: Path, metadata: ExportMetadata) -> None:
    """Write a page that segments in a browser, and remove the ONNX file that it takes in."""
    import onnx

    from lunet_cli.engine.exporting.browser.page import render_page

    model = onnx.load(graph)
    # The page says what is needed in its own words; the rest tells of the training and its data.
    del model.metadata_props[:]
    path.write_text(render_page(model.SerializeToString(), metadata), encoding="utf-8")
    graph.unlink()


def _write_onnx(
    network: SegmentationNetwork,
    path: Path,
    metadata: ExportMetadata,
    window: Size,
    calibration: Sequence[Tensor],
) -> None:
    import onnx

    from lunet_cli.engine.runtimes.onnx_runtime import to_onnx

    model = to_onnx(network, window)
    if metadata.weights == "fp16":
        from onnxruntime.transformers.float16 import convert_float_to_float16

        # Images and logits stay in fp32, so that a program feeds every file alike.
        model = convert_float_to_float16(model, keep_io_types=True)
    elif metadata.weights == "int8":
        model = quantize_onnx(model, calibration)
    onnx.helper.set_model_props(model, {METADATA_KEY: compact_json(metadata)})
    onnx.save_model(model, path)


def _write_openvino(
    network: SegmentationNetwork,
    path: Path,
    metadata: ExportMetadata,
    window: Size,
    calibration: Sequence[Tensor],
) -> None:
    import openvino

    from lunet_cli.engine.runtimes.openvino_runtime import to_openvino

    model = to_openvino(network, window)
    if metadata.weights == "int8":
        model = quantize_openvino(model, calibration)
    model.set_rt_info(compact_json(metadata), METADATA_KEY)
    openvino.save_model(model, path, compress_to_fp16=metadata.weights == "fp16")


def _write_program(
    network: SegmentationNetwork,
    path: Path,
    metadata: ExportMetadata,
    window: Size,
    calibration: Sequence[Tensor],
) -> None:
    from lunet_cli.engine.runtimes.torch_runtime import METADATA_FILE
    from lunet_cli.engine.runtimes.tracing import drop_assertions, quiet, trace

    assert metadata.weights == "fp32"
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
    path: Path,
    metadata: ExportMetadata,
    window: Size,
    calibration: Sequence[Tensor],
) -> None:
    from safetensors.torch import save

    tensors = {}
    for name, tensor in copy.deepcopy(network).state_dict().items():
        # Kernels only: a running variance may leave the range of fp16.
        if metadata.weights == "fp16" and tensor.ndim == 5:
            tensor = tensor.half()
        tensors[name] = tensor.contiguous()
    path.write_bytes(save(tensors, metadata={METADATA_KEY: compact_json(metadata)}))
