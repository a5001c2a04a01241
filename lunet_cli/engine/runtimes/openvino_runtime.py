"""OpenVINO: from a network or a file to a compiled model on the CPU."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from lunet_cli.config.vocabulary import Precision, Size
from lunet_cli.engine.networks.blocks import SegmentationNetwork
from lunet_cli.engine.runtimes.exported_graph import METADATA_KEY, ExportedGraph, Forward
from lunet_cli.engine.runtimes.tracing import INPUT, OUTPUT, quiet, trace
from lunet_cli.errors import CheckpointError
from lunet_cli.records.files import read_bytes, require_file

# A full batch and what is left over: a prediction has no other shapes, and each keeps memory of its
# own.
_MAX_SHAPES = 2


def load_openvino(network: SegmentationNetwork | ExportedGraph, precision: Precision) -> Forward:
    """See `load_runtime`."""
    import openvino

    if isinstance(network, ExportedGraph):
        model = read_openvino(network.path)
    else:
        model = to_openvino(network)
    settings = {
        "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[precision],
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
    }
    core = openvino.Core()
    requests: OrderedDict[tuple[int, ...], Any] = OrderedDict()

    def request_for(shape: tuple[int, ...]) -> Any:
        if shape not in requests:
            if len(requests) == _MAX_SHAPES:
                requests.popitem(last=False)
            # A model that is compiled for one shape is faster than one for all shapes.
            fixed = model.clone()
            fixed.reshape(list(shape))
            requests[shape] = core.compile_model(fixed, "CPU", settings).create_infer_request()
        requests.move_to_end(shape)
        return requests[shape]

    def forward(image: Tensor) -> Tensor:
        request = request_for(tuple(image.shape))
        return torch.from_numpy(request.infer([image.contiguous().numpy()], share_inputs=True)[0])

    return forward


def to_openvino(network: SegmentationNetwork, window: Size = (1, 1, 1)) -> Any:
    """The network as an `openvino.Model`, from `image` to `logits`, for all sizes (see `trace`)."""
    import openvino

    with quiet():
        # Its own decomposition cannot follow numbers that a graph reads from a tensor.
        model = openvino.convert_model(trace(network, window).run_decompositions())
    model.inputs[0].get_tensor().set_names({INPUT})
    model.outputs[0].get_tensor().set_names({OUTPUT})
    return model


def read_openvino_metadata(path: Path) -> str:
    """What lunet wrote about the network; empty if the model is not of lunet."""
    model = _read(path)
    if not model.has_rt_info(METADATA_KEY):
        return ""
    return str(model.get_rt_info(METADATA_KEY).astype(str))


def read_openvino(path: Path) -> Any:
    """The model in an `.xml` file, with its weights in the `.bin` beside it, or in an `.onnx` file.

    Raises:
        CheckpointError: A file is missing, damaged, or not of lunet.
    """
    model = _read(path)
    names = [value.get_any_name() for value in (*model.inputs, *model.outputs)]
    if names != [INPUT, OUTPUT]:
        raise CheckpointError(
            f"{path}: was not written by `export()` (its values are {', '.join(names)})",
            hint=f"lunet takes graphs from '{INPUT}' to '{OUTPUT}'.",
        )
    return model


def read_openvino_weights(path: Path) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """Name and value of the constant tensors of a model."""
    for node in _read(path).get_ops():
        if node.get_type_name() == "Constant":
            yield node.get_friendly_name(), node.get_data()


def _read(path: Path) -> Any:
    import openvino

    if path.suffix == ".onnx":
        from lunet_cli.engine.runtimes.onnx_runtime import read_graph

        read_graph(path)
    else:
        _require_text(path)
        require_file(
            path.with_suffix(".bin"),
            error=CheckpointError,
            hint="An .xml file has its weights beside it.",
        )
    try:
        return openvino.Core().read_model(path)
    except RuntimeError as error:
        # The first lines name places in the source of OpenVINO, the last one says what is wrong.
        reason = (str(error).strip() or repr(error)).splitlines()[-1]
        raise CheckpointError(
            f"{path}: is damaged or not an OpenVINO model ({reason.strip()[:200]})"
        ) from None


def _require_text(path: Path) -> None:
    """Raise if an `.xml` file is not text.

    OpenVINO would hand its bytes on, and Python fail on them.

    Raises:
        CheckpointError: It is not.
    """
    try:
        read_bytes(path, error=CheckpointError).decode()
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{path}: is damaged or not an OpenVINO model ({error})") from None
