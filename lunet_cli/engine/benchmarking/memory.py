"""How much memory a row takes, estimated before it starts, and how much there is."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from lunet_cli.config.machine import memory_bytes
from lunet_cli.config.network import NetworkSpec, count_parameters
from lunet_cli.engine.benchmarking.complexity import Complexity
from lunet_cli.engine.benchmarking.subjects import Shape
from lunet_cli.engine.inference.memory import activation_channels
from lunet_cli.engine.networks.execution import Precision

MIB = 2**20
BYTES: dict[Precision, int] = {"fp32": 4, "bf16": 2, "fp16": 2}
# Measured: Python with torch, and what the exporters and compilers of the runtimes add.
_PROCESS_MIB = 300.0
_RUNTIME_MIB = {"onnx": 350.0, "openvino": 450.0, "torch-compile": 450.0, "auto": 800.0}
_CUDA_CONTEXT_MIB = 1500.0
_WEIGHT_COPIES = 4  # As loaded, folded or laid out anew, and in an optimiser.


@dataclass(frozen=True)
class Need:
    """Memory in MiB, of the machine and of its accelerator."""

    host: float
    device: float


def activation_mib(
    spec: NetworkSpec, shape: Shape, precision: Precision, complexity: Complexity
) -> float:
    """Estimate the peak of live activations of a pass: see `activation_channels`; in training, what is kept as well."""
    batch, _, *size = shape
    stride = spec.total_stride
    voxels = math.prod(-(-edge // stride) * stride for edge in size)
    values = batch * voxels * activation_channels(spec) + complexity.saved_values
    return values * BYTES[precision] / MIB


def estimate_need(
    spec: NetworkSpec,
    shape: Shape,
    device: str,
    runtime: str,
    precision: Precision,
    complexity: Complexity,
) -> Need:
    """Estimate the peak of the process that measures a row."""
    network = activation_mib(spec, shape, precision, complexity)
    network += _WEIGHT_COPIES * BYTES["fp32"] * count_parameters(spec) / MIB
    image = math.prod(shape) * BYTES["fp32"] / MIB
    process = _PROCESS_MIB + _RUNTIME_MIB.get(runtime, 0.0) + image
    if device == "cuda":
        return Need(process + _CUDA_CONTEXT_MIB, network + image)
    return Need(process + network, 0.0)


def available(device: str) -> Need:
    """What the machine and its accelerator have in all."""
    on_device = torch.cuda.get_device_properties(0).total_memory / MIB if device == "cuda" else 0.0
    return Need(memory_bytes() / MIB, on_device)
