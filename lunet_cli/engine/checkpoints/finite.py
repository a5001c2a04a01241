"""Weights that are not finite in an exported graph, found when it is loaded.

Some runtimes turn NaN into 0 at a ReLU, so that logits would look sound.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from lunet_cli.engine.runtimes.exported_graph import ExportedGraph
from lunet_cli.errors import CheckpointError

Array = npt.NDArray[Any]


def require_finite_graph(graph: ExportedGraph) -> None:
    """Raise if a number in an exported graph is NaN or infinite.

    Raises:
        CheckpointError: One is.
    """
    for name, array in _weights_of(graph):
        if not np.isfinite(array).all():
            raise CheckpointError(
                f"{graph.path}: {name} holds values that are not finite",
                hint="The file was changed, or was made from a training that has diverged. "
                "Export again.",
            )


def _weights_of(graph: ExportedGraph) -> Iterable[tuple[str, Array]]:
    """Name and value of each tensor of floating point numbers."""
    if graph.format == "onnx":
        from lunet_cli.engine.runtimes.onnx_runtime import read_onnx_weights

        return _floats(read_onnx_weights(graph.path))
    if graph.format == "openvino":
        from lunet_cli.engine.runtimes.openvino_runtime import read_openvino_weights

        return _floats(read_openvino_weights(graph.path))
    from lunet_cli.engine.runtimes.torch_runtime import read_program_weights

    return _floats(read_program_weights(graph.path))


def _floats(arrays: Iterable[tuple[str, Array]]) -> Iterator[tuple[str, Array]]:
    for name, array in arrays:
        if np.issubdtype(array.dtype, np.floating):
            yield name, array
