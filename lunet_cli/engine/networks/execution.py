"""How a network is computed: device, precision, memory layout and compilation."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lunet_cli.config.network import NetworkSpec
from lunet_cli.config.vocabulary import DeviceName, Precision
from lunet_cli.engine.networks.blocks import SegmentationNetwork
from lunet_cli.errors import DeviceError

DTYPES: dict[Precision, torch.dtype] = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}


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
        words: list[str] = [self.precision]
        if self.channels_last:
            words.append("channels-last")
        if self.compile:
            words.append("compiled")
        return f"{' '.join(words)} on {self.device}"

    def autocast(self) -> AbstractContextManager[Any]:
        """The context to run forward passes in."""
        if self.precision == "fp32":
            return torch.autocast(self.device, enabled=False)
        return torch.autocast(self.device, DTYPES[self.precision])

    def place(self, network: SegmentationNetwork) -> SegmentationNetwork:
        """Move a network to the device, in the layout of the plan."""
        placed = network.to(self.device)
        if self.channels_last:
            # This overload is missing in torch's stub.
            placed.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        return placed

    def place_image(self, image: Tensor) -> Tensor:
        """Move images (B, C, D, H, W) likewise."""
        layout = torch.channels_last_3d if self.channels_last else torch.contiguous_format
        return image.to(self.device, non_blocking=True, memory_format=layout)

    def callable_of(self, network: nn.Module) -> Callable[[Tensor], Any]:
        """The network, compiled if the plan says so."""
        return torch.compile(network, dynamic=False) if self.compile else network

    def to_dict(self) -> dict[str, object]:
        """Plain values for a checkpoint."""
        return asdict(self)


def resolve_device(name: DeviceName) -> str:
    """The device to use.

    Raises:
        DeviceError: The named device is not available.
    """
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    present = [device for device, there in available.items() if there]
    if name == "auto":
        # The dictionary is ordered: the CPU, which is always there, comes last.
        return present[0]
    if name not in present:
        have = ", ".join(present)
        raise DeviceError(
            f"`device`: {name} is not available; this machine has {have}",
            hint="Choose the device auto, or install a build of PyTorch for that device.",
        )
    return name


def has_native_bf16() -> bool:
    """Whether the processor has instructions for bf16, AMX or AVX-512-BF16.

    oneDNN's own check says yes for every AVX-512, where bf16 is emulated and slower than fp32.
    """
    return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())


def half_precisions(device: str) -> tuple[Precision, ...]:
    """The half precisions that a device computes in at full speed, the widest range first."""
    if device == "cpu":
        return ("bf16",) if has_native_bf16() else ()
    # Emulated bf16, which older GPUs have, is slower than fp32.
    if device == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return ("bf16", "fp16")
    return ("fp16",)


def has_precision(device: str, precision: Precision) -> bool:
    """Whether a device computes in a precision at full speed."""
    return precision == "fp32" or precision in half_precisions(device)


def usual_precision(spec: NetworkSpec, device: str) -> tuple[Precision, str]:
    """The arithmetic that is usually the fastest on a device, and why (docs/adr/0008)."""
    if device == "cuda":
        if has_precision(device, "bf16"):
            return "bf16", "the GPU has bf16"
        # Tensor cores came with compute capability 7.0 (Volta); before, fp16 gains nothing.
        if torch.cuda.get_device_capability() >= (7, 0):
            return "fp16", "the GPU has tensor cores for fp16"
        return "fp32", "the GPU has no tensor cores"
    if device != "cpu":
        return "fp32", f"half precision is not proven on {device}"
    if spec.topology == "mednext":
        return "fp32", "depthwise convolutions are slower in bf16 on a CPU"
    if has_precision(device, "bf16"):
        return "bf16", "the processor has instructions for bf16"
    return "fp32", "the processor has no instructions for bf16"


def prefers_channels_last(spec: NetworkSpec, device: str, precision: Precision) -> bool:
    """Whether channel-last images are usually faster: on CUDA in half precision only."""
    # Depthwise convolutions, one channel each, gain nothing from channels side by side.
    if spec.topology == "mednext":
        return False
    return device == "cpu" or (device == "cuda" and precision != "fp32")


@contextlib.contextmanager
def evaluating(network: SegmentationNetwork) -> Iterator[None]:
    """Switch to evaluation mode and back."""
    was_training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(was_training)
