"""How much memory a row takes, estimated before it starts, and how much there is."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from lunet_cli.config.machine import memory_bytes
from lunet_cli.config.network import NetworkSpec
from lunet_cli.config.network_cost import count_parameters
from lunet_cli.config.vocabulary import MIB, Precision
from lunet_cli.engine.benchmarking.complexity import Complexity
from lunet_cli.engine.benchmarking.row_plan import RowPlan
from lunet_cli.engine.benchmarking.targets import Shape
from lunet_cli.engine.inference.memory import activation_channels
from lunet_cli.engine.networks.execution import DTYPES
from lunet_cli.engine.runtimes.runtime import memory_mib

_FP32_BYTES = 4
# Measured: Python with torch.
_PROCESS_MIB = 300.0
_CUDA_CONTEXT_MIB = 1500.0
# Weights as loaded, folded or laid out anew, and the two moments in an optimiser.
_WEIGHT_COPIES = 4


@dataclass(frozen=True)
class Need:
    """Memory in MiB, of the machine and of its accelerator."""

    host: float
    device: float


def activation_mib(
    spec: NetworkSpec, shape: Shape, precision: Precision, complexity: Complexity
) -> float:
    """Estimate the peak of live activations of a pass, and in training of what is kept, in MiB."""
    batch, _, *size = shape
    voxels = batch
    for edge in size:
        # As the network pads it: to the next multiple of its stride.
        voxels *= edge + -edge % spec.total_stride
    values = voxels * activation_channels(spec) + complexity.saved_values
    return values * DTYPES[precision].itemsize / MIB


def estimate_need(plan: RowPlan, complexity: Complexity) -> Need:
    """Estimate the peak of the process that measures a row."""
    spec = plan.target.spec
    network = activation_mib(spec, plan.shape, plan.largest_precision, complexity)
    network += _WEIGHT_COPIES * _FP32_BYTES * count_parameters(spec) / MIB
    image = math.prod(plan.shape) * _FP32_BYTES / MIB
    process = _PROCESS_MIB + memory_mib(plan.runtime) + image
    if plan.device == "cuda":
        return Need(process + _CUDA_CONTEXT_MIB, network + image)
    return Need(process + network, 0.0)


def available(device: str) -> Need:
    """What the machine and its accelerator have in all."""
    on_device = 0.0
    if device == "cuda":
        on_device = torch.cuda.get_device_properties(0).total_memory / MIB
    return Need(memory_bytes() / MIB, on_device)
