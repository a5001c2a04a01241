"""Weights that are not finite, found when a network is loaded, whatever file it comes from.

Some runtimes turn NaN into 0 at a ReLU, so that logits would look sound.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lunet_cli.engine.networks.blocks import SegmentationNetwork
from lunet_cli.engine.runtimes.exported import ExportedGraph
from lunet_cli.errors import CheckpointError

Array = npt.NDArray[Any]


def require_finite_weights(path: Path, network: SegmentationNetwork | ExportedGraph) -> None:
    """Raise if a number in a network or exported graph is NaN or infinite.

    Raises:
        CheckpointError: One is.
    """
    for name, array in _weights_of(network):
        if not np.isfinite(array).all():
            raise CheckpointError(
                f"{path}: its weights are not finite numbers (NaN or infinity in {name})",
                hint="Its training has diverged, or the file is damaged. Take another checkpoint, or train again.",
            )


def _weights_of(network: SegmentationNetwork | ExportedGraph) -> Iterable[tuple[str, Array]]:
    """Name and value of each tensor of floating point numbers."""
    if not isinstance(network, ExportedGraph):
        return ((k, v.float().numpy()) for k, v in network.state_dict().items() if v.is_floating_point())
    if network.format == "onnx":
        from lunet_cli.engine.runtimes.onnx_runtime import read_onnx_weights

        return _floats(read_onnx_weights(network.path))
    if network.format == "openvino":
        from lunet_cli.engine.runtimes.openvino_runtime import read_openvino_weights

        return _floats(read_openvino_weights(network.path))
    from lunet_cli.engine.runtimes.torch_runtime import read_program_weights

    return _floats(read_program_weights(network.path))


def _floats(arrays: Iterable[tuple[str, Array]]) -> Iterator[tuple[str, Array]]:
    for name, array in arrays:
        if np.issubdtype(array.dtype, np.floating):
            yield name, array
