"""What a configuration asks of the machine that it runs on, known before any volume is read.

Fixed bounds stand in the schema, since configurations travel; here is what differs from machine to
machine. All estimates are lower bounds: what they refuse cannot work.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from lunet_cli.config.fit import network_spec
from lunet_cli.config.layers import graph_of
from lunet_cli.config.network import NetworkSpec
from lunet_cli.config.network_cost import count_parameters
from lunet_cli.config.run import RunConfig
from lunet_cli.config.vocabulary import Size
from lunet_cli.errors import ConfigError

GIB = 2**30
# Some more threads or processes than cores do no harm; hundreds of them stop a small machine.
_PER_CORE = 4
_ALWAYS_POSSIBLE = 16


def memory_bytes() -> float:
    """Memory of the machine, or of the container if that has less; infinite if it is not known."""
    if not hasattr(os, "sysconf"):  # Windows.
        return math.inf
    size = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    # https://docs.kernel.org/admin-guide/cgroup-v2.html: bytes, or the word max.
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.is_file():
        text = limit.read_text(encoding="ascii").strip()
        if text.isdigit():
            size = min(size, int(text))
    return float(size)


def require_possible(config: RunConfig) -> None:
    """Raise if this machine cannot do what a configuration asks for.

    Raises:
        ConfigError: With a line for each key.
    """
    mistakes = [*_processes(config), *_device(config), *_network(config), *_benchmark(config)]
    patch = config.training.patch_size
    if patch is not None:
        spec = network_spec(config, in_channels=config.model.in_channels or 1, out_channels=1)
        mistakes += batch_mistakes(config, spec, patch, on_cpu=_computes_on_cpu(config))
    if mistakes:
        raise ConfigError(mistakes)


def batch_mistakes(
    config: RunConfig, spec: NetworkSpec, window: Size, *, on_cpu: bool
) -> list[str]:
    """What is wrong with the size of the batches, as no or one line.

    Args:
        config: The configuration.
        spec: The network.
        window: Voxels of a patch.
        on_cpu: Whether the network computes in the memory of the machine too, and not only prepares
            batches there.
    """
    batch_size = config.training.batch_size
    # Images in fp32, labels in uint8.
    needed_each = math.prod(window) * (4 * spec.in_channels + 1)
    if on_cpu:
        bytes_of_value = 4 if config.training.precision == "fp32" else 2
        needed_each += kept_values(spec, window) * bytes_of_value
    needed = batch_size * needed_each
    if needed <= memory_bytes():
        return []
    key = "patch_size" if needed_each > memory_bytes() else "batch_size"
    return [
        f"training.{key}: batches of {batch_size} patches of {' x '.join(map(str, window))} voxels "
        f"need more than {_size(needed)} of memory, and this machine has {_size(memory_bytes())}"
    ]


def kept_values(spec: NetworkSpec, window: Size) -> int:
    """A lower bound of the values that the forward pass of one patch keeps for its backward pass.

    Each convolution keeps what goes in.
    """
    kept, graph = 0, graph_of(spec)
    for operation in graph.operations.values():
        if operation.kernel_voxels:
            voxels = math.prod(window) >> (3 * operation.level)
            kept += graph.channels_into(operation.module) * voxels
    return kept


def _processes(config: RunConfig) -> Iterator[str]:
    cores = os.cpu_count() or 1
    most = max(_ALWAYS_POSSIBLE, _PER_CORE * cores)
    asked = {
        "training.num_threads": config.training.num_threads,
        "data.num_workers": config.data.num_workers,
    }
    for key, number in asked.items():
        if number is not None and number > most:
            yield (
                f"{key}: {number} is more than this machine can run; with its {cores} cores at "
                f"most {most} are possible"
            )


def _device(config: RunConfig) -> Iterator[str]:
    device = config.training.device
    lacks_cuda = device == "cuda" and not _may_have_cuda()
    lacks_mps = device == "mps" and sys.platform != "darwin"
    if lacks_cuda or lacks_mps:
        yield f"training.device: this machine has no {device}; take another, or auto"


def _may_have_cuda() -> bool:
    """Whether there may be an accelerator; Linux shows its driver as a file."""
    if sys.platform != "linux":
        return sys.platform == "win32"
    # Nvidia's driver, that of Windows in WSL, and AMD's.
    drivers = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg", "/dev/kfd")
    return any(map(os.path.exists, drivers))


def _computes_on_cpu(config: RunConfig) -> bool:
    if config.training.device != "auto":
        return config.training.device == "cpu"
    return sys.platform != "darwin" and not _may_have_cuda()


def _network(config: RunConfig) -> Iterator[str]:
    spec = network_spec(config, in_channels=1, out_channels=1)
    needed = 4 * count_parameters(spec)
    if _computes_on_cpu(config):
        # Gradients, and the first moment that each of the optimisers has.
        needed *= 3
    if needed > memory_bytes():
        yield (
            f"model.architecture: {config.model.architecture} has {count_parameters(spec):,} "
            f"parameters; they need more than {_size(needed)} of memory, and this machine has "
            f"{_size(memory_bytes())}"
        )


def _benchmark(config: RunConfig) -> Iterator[str]:
    size = config.benchmark.input_size
    needed = 4 * math.prod(size)
    if config.benchmark.enabled and needed > memory_bytes():
        yield (
            f"benchmark.input_size: {list(size)} needs more than {_size(needed)} of memory, and "
            f"this machine has {_size(memory_bytes())}"
        )


def _size(count: float) -> str:
    return f"{count / GIB:,.0f} GiB"
