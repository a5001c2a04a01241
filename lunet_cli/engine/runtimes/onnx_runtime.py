"""ONNX Runtime: from a network or a file to a session on the CPU."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from lunet_cli.config.vocabulary import Size
from lunet_cli.engine.networks.blocks import SegmentationNetwork
from lunet_cli.engine.runtimes.exported_graph import METADATA_KEY, ExportedGraph, Forward
from lunet_cli.engine.runtimes.tracing import INPUT, OUTPUT, quiet, trace
from lunet_cli.errors import CheckpointError
from lunet_cli.records.files import require_file


def load_onnx(network: SegmentationNetwork | ExportedGraph) -> Forward:
    """See `load_runtime`."""
    if isinstance(network, ExportedGraph):
        session = open_session(network.path)
    else:
        buffer = io.BytesIO()
        import onnx

        onnx.save_model(to_onnx(network), buffer)
        session = _make_session(buffer.getvalue())

    def forward(image: Tensor) -> Tensor:
        try:
            return torch.from_numpy(session.run([OUTPUT], {INPUT: image.numpy()})[0])
        # onnxruntime has an exception class of its own for each status, with no common base.
        except Exception as error:
            raise RuntimeError(str(error)) from error

    return forward


def to_onnx(network: SegmentationNetwork, window: Size = (1, 1, 1)) -> Any:
    """The network as an `onnx.ModelProto`, from `image` to `logits`, for all sizes: see `trace`."""
    with quiet(), torch.no_grad():
        program = torch.onnx.export(
            trace(network, window),
            (),
            dynamo=True,
            verbose=False,
            input_names=[INPUT],
            output_names=[OUTPUT],
        )
    assert program is not None
    model = program.model_proto
    # What the exporter notes about the Python behind each node is several times the weights of a
    # lean network.
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    del model.graph.value_info[:], model.graph.metadata_props[:], model.metadata_props[:]
    return model


def open_session(path: Path) -> Any:
    """A session of the network in a file, with as many threads as PyTorch.

    Raises:
        CheckpointError: The file is missing, damaged, or not of lunet.
    """
    read_graph(path)
    session = _make_session(str(path), path)
    names = [value.name for value in (*session.get_inputs(), *session.get_outputs())]
    if names != [INPUT, OUTPUT]:
        raise CheckpointError(
            f"{path}: was not written by `export()` (its values are {', '.join(names)})",
            hint=f"lunet takes graphs from '{INPUT}' to '{OUTPUT}'.",
        )
    return session


def read_onnx_metadata(path: Path) -> str:
    """What lunet wrote about the network; empty if the file is not of lunet.

    Raises:
        CheckpointError: The file is damaged, or its tensors are not in it.
    """
    model = read_graph(path)
    for entry in model.metadata_props:
        if entry.key == METADATA_KEY:
            return str(entry.value)
    return ""


def read_graph(path: Path) -> Any:
    """The `onnx.ModelProto` in a file, all tensors of which are within.

    Raises:
        CheckpointError: The file is missing or damaged, a tensor lies in another file, or has fewer
            values than it says.
    """
    import onnx
    from google.protobuf.message import DecodeError

    require_file(path, error=CheckpointError)
    try:
        # Data outside of the file would be read from wherever it says.
        model = onnx.load_model(str(path), format="protobuf", load_external_data=False)
    except (DecodeError, OSError, ValueError) as error:
        raise CheckpointError(f"{path}: is damaged or not an ONNX file ({error})") from None
    if not model.graph.node:
        raise CheckpointError(f"{path}: is damaged or not an ONNX file (it holds no graph)")
    for tensor in _tensors(model.graph):
        problem = _problem_of(tensor)
        if problem:
            raise CheckpointError(f"{path}: was not written by `export()` (a tensor {problem})")
    return model


def _tensors(graph: Any) -> Iterator[Any]:
    """All tensors of a graph, those of nodes and of graphs within graphs included."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield from attribute.tensors
            if attribute.HasField("t"):
                yield attribute.t
            for inner in (attribute.g, *attribute.graphs):
                yield from _tensors(inner)


def _problem_of(tensor: Any) -> str:
    """What is wrong with a tensor, in words; empty if nothing is."""
    if tensor.data_location != 0 or tensor.external_data:
        return "lies outside of the file"
    num_values = math.prod(tensor.dims)
    # Each value takes half a byte at least.
    if num_values < 0 or num_values > 2 * tensor.ByteSize():
        return "has fewer values than it says"
    return ""


def read_onnx_weights(path: Path) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """Name and value of the constant tensors of a file that has been opened before."""
    import onnx

    for tensor in _tensors(onnx.load(path).graph):
        yield tensor.name, onnx.numpy_helper.to_array(tensor)


def _make_session(source: str | bytes, path: Path | None = None) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    # Only what ends the session: what goes wrong is raised, and would be logged a second time.
    options.log_severity_level = 4
    # Threads that spin while they wait keep the cores from other programs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    # As above: no common base.
    except Exception as error:
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        raise CheckpointError(
            f"{path or 'network'}: is damaged or not an ONNX file ({reason[:200]})"
        ) from None
