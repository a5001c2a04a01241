"""How a network is computed: device, precision, memory layout and compilation."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from lunet_cli.config.network import NetworkSpec
from lunet_cli.engine.networks.blocks import SegmentationNetwork
from lunet_cli.errors import DeviceError

Precision = Literal["fp32", "bf16", "fp16"]


@dataclass(frozen=True)
class ExecutionPlan:
    """How a network is computed.

    Args:
        device: `cpu`, `cuda` or `mps`.
        precision: Arithmetic under autocast; weights stay in fp32.
        channels_last: Whether the channel is the fastest axis in memory.
        compile: Whether `torch.compile` is used.
    """

    device: str
    precision: Precision
    channels_last: bool
    compile: bool

    def __str__(self) -> str:
        parts = [self.precision, *(["channels-last"] if self.channels_last else [])]
        return f"{' '.join(parts + (['compiled'] if self.compile else []))} on {self.device}"

    def autocast(self) -> AbstractContextManager[Any]:
        """The context to run forward passes in."""
        dtype = torch.float16 if self.precision == "fp16" else torch.bfloat16
        return torch.autocast(self.device, dtype, enabled=self.precision != "fp32")

    def place(self, network: SegmentationNetwork) -> SegmentationNetwork:
        """Move a network to the device, in the layout of the plan."""
        placed = network.to(self.device)
        if self.channels_last:
            placed.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]  # missing in torch's stub
        return placed

    def place_image(self, image: Tensor) -> Tensor:
        """Move images (B, C, D, H, W) likewise."""
        layout = torch.channels_last_3d if self.channels_last else torch.contiguous_format
        return image.to(self.device, non_blocking=True, memory_format=layout)

    def callable_of(self, network: SegmentationNetwork) -> Callable[[Tensor], Tensor]:
        """The network, compiled if the plan says so."""
        return torch.compile(network, dynamic=False) if self.compile else network

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return asdict(self)


def resolve_device(name: Literal["auto", "cpu", "cuda", "mps"]) -> str:
    """The device to use.

    Raises:
        DeviceError: The named device is not available.
    """
    available = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if name == "auto":
        return next(device for device in ("cuda", "mps", "cpu") if available[device])
    if not available[name]:
        have = ", ".join(device for device, there in available.items() if there)
        raise DeviceError(
            f"device: {name} is not available; this machine has {have}",
            hint="Choose the device auto, or install a build of PyTorch for that device.",
        )
    return name


def has_native_bf16() -> bool:
    """Whether the processor has instructions for bf16, AMX or AVX-512-BF16.

    oneDNN's own check says yes for every AVX-512, where bf16 is emulated and slower than fp32.
    """
    return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())


def usual_precision(spec: NetworkSpec, device: str) -> tuple[Precision, str]:
    """The arithmetic that is usually the fastest on a device, and why (docs/adr/0008)."""
    if device == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return "bf16", "the GPU has bf16"
        if torch.cuda.get_device_capability() >= (7, 0):
            return "fp16", "the GPU has tensor cores for fp16"
        return "fp32", "the GPU has no tensor cores"
    if device != "cpu":
        return "fp32", f"half precision is not proven on {device}"
    if spec.topology == "mednext":
        return "fp32", "depthwise convolutions are slower in bf16 on a CPU"
    if has_native_bf16():
        return "bf16", "the processor has instructions for bf16"
    return "fp32", "the processor has no instructions for bf16"


def prefers_channels_last(spec: NetworkSpec, device: str, precision: Precision) -> bool:
    """Whether the layout is usually faster: not for depthwise convolutions, and on CUDA in half precision only."""
    return spec.topology != "mednext" and (
        device == "cpu" or (device == "cuda" and precision != "fp32")
    )


@contextlib.contextmanager
def evaluating(network: SegmentationNetwork) -> Iterator[None]:
    """Switch to evaluation mode and back."""
    was_training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(was_training)


def machine_name() -> str:
    """Processor and, if there is one, accelerator in words."""
    names = [_processor_name(), torch.backends.cpu.get_cpu_capability()]
    if torch.cuda.is_available():
        names.append(torch.cuda.get_device_name())
    return ", ".join(names)


def _processor_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")  # Where the standard library knows the instruction set only.
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
