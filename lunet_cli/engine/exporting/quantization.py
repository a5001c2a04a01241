"""Eight-bit networks by the quantisation tools of ONNX Runtime and OpenVINO."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from lunet_cli.engine.runtimes.tracing import INPUT, quiet


def quantize_onnx(model: Any, windows: Sequence[Tensor]) -> Any:
    """Quantise an `onnx.ModelProto` after training, per channel.

    Args:
        model: The model.
        windows: Windows (C, D, H, W) on which ranges are measured.
    """
    import onnx
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
        def __init__(self) -> None:
            self._left = iter(windows)

        def get_next(self) -> Any:
            window = next(self._left, None)
            if window is None:
                return None
            return {INPUT: window[None].numpy()}

    with tempfile.TemporaryDirectory() as folder, quiet():
        target = Path(folder) / "int8.onnx"
        quantize_static(
            model,
            target,
            Reader(),
            # Nearly all of the arithmetic; what is left stays in fp32, and more exact.
            op_types_to_quantize=["Conv", "ConvTranspose"],
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            # Weights are about 0, activations behind a ReLU above it: the pair that the CPU
            # provider has kernels for.
            weight_type=QuantType.QInt8,
            activation_type=QuantType.QUInt8,
        )
        return onnx.load(target)


def quantize_openvino(model: Any, windows: Sequence[Tensor]) -> Any:
    """Quantise an `openvino.Model` after training, by NNCF.

    Args:
        model: The model.
        windows: Windows (C, D, H, W) on which ranges are measured.
    """
    with quiet():
        import nncf

        nncf.set_log_level(logging.ERROR)
        return nncf.quantize(
            model,
            nncf.Dataset([window[None].numpy() for window in windows]),
            subset_size=len(windows),
        )
