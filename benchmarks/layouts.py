"""What a 3x3x3 convolution with few channels would gain from another layout, side by side.

    python benchmarks/layouts.py [--edge 64] [--precision fp32 bf16]

`plain` is oneDNN's convolution in channels-last, whose vectors are 16 channels wide: with 4
channels, three quarters of each are idle. `packed` takes runs of four voxels along x as channels,
which in memory is a view. Each run then has its neighbours among its input channels: two more
voxels, which have to be copied there (`halo`). The kernel becomes 3x3x1 with six voxels of input
channels and four of output channels, which fills a vector and multiplies with few zeros.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable

import torch
from torch import Tensor

from lunet_cli.engine.networks.execution import DTYPES
from lunet_cli.engine.provenance import machine_name
from lunet_cli.engine.runtimes.timing import time_passes_ms

RUN = 4
LAYERS = ((1, 4), (4, 4), (8, 4))
PRECISIONS = ("fp32", "bf16")


def convolve(x: Tensor, weight: Tensor, padding: list[int]) -> Tensor:
    bias = torch.zeros(weight.shape[0], dtype=x.dtype)
    ones = [1, 1, 1]
    output: Tensor = torch.ops.aten.mkldnn_convolution(x, weight, bias, padding, ones, ones, 1)
    return output


def with_halo(x: Tensor) -> Tensor:
    """Runs (1, (RUN + 2) * C, D, H, W / RUN) of an image (1, C, D, H, W), neighbours included."""
    _, channels, depth, height, width = x.shape
    runs = x.permute(0, 2, 3, 4, 1).reshape(1, depth, height, width // RUN, RUN * channels)
    packed = torch.empty(*runs.shape[:-1], (RUN + 2) * channels, dtype=x.dtype)
    packed[..., channels:-channels] = runs
    packed[:, :, :, 1:, :channels] = runs[:, :, :, :-1, -channels:]
    packed[:, :, :, 0, :channels] = 0
    packed[:, :, :, :-1, -channels:] = runs[:, :, :, 1:, :channels]
    packed[:, :, :, -1, -channels:] = 0
    return packed.permute(0, 4, 1, 2, 3)


def packed_weight(weight: Tensor) -> Tensor:
    """The kernel (O, C, 3, 3, 3) for runs: (RUN * O, (RUN + 2) * C, 3, 3, 1)."""
    num_out, num_in = weight.shape[:2]
    packed = torch.zeros(RUN, num_out, RUN + 2, num_in, 3, 3, 1, dtype=weight.dtype)
    for voxel in range(RUN):
        for tap in range(3):
            packed[voxel, :, voxel + tap] = weight[..., tap : tap + 1]
    return packed.reshape(RUN * num_out, (RUN + 2) * num_in, 3, 3, 1)


def measure(steps: dict[str, Callable[[], Tensor]]) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(10):
        for name, step in steps.items():
            times[name] += time_passes_ms(step, device="cpu", warmup_runs=1, timed_runs=2)
    return {name: statistics.median(values) for name, values in times.items()}


def compare(num_in: int, num_out: int, edge: int, dtype: torch.dtype) -> dict[str, float]:
    layout = torch.channels_last_3d
    x = torch.randn(1, num_in, edge, edge, edge, dtype=dtype).contiguous(memory_format=layout)
    weight = torch.randn(num_out, num_in, 3, 3, 3, dtype=dtype)
    plain = weight.contiguous(memory_format=layout)
    packed = packed_weight(weight).contiguous(memory_format=layout)
    expected = convolve(x, plain, [1, 1, 1]).permute(0, 2, 3, 4, 1)
    found = convolve(with_halo(x), packed, [1, 1, 0]).permute(0, 2, 3, 4, 1).reshape(expected.shape)
    assert torch.allclose(found.float(), expected.float(), rtol=0.02, atol=0.1)
    runs = with_halo(x)
    return measure(
        {
            "plain": lambda: convolve(x, plain, [1, 1, 1]),
            "packed": lambda: convolve(with_halo(x), packed, [1, 1, 0]),
            "packed, halo given": lambda: convolve(runs, packed, [1, 1, 0]),
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--edge", type=int, default=64, help="voxels along each axis, a multiple of 4"
    )
    parser.add_argument("--precision", nargs="+", choices=PRECISIONS, default=PRECISIONS)
    arguments = parser.parse_args()
    threads = torch.get_num_threads()
    print(f"{machine_name()}, {threads} threads, torch {torch.__version__}")
    print(f"{arguments.edge}^3 voxels")
    for precision in arguments.precision:
        for num_in, num_out in LAYERS:
            found = compare(num_in, num_out, arguments.edge, DTYPES[precision])
            times = ", ".join(f"{name} {time:.2f} ms" for name, time in found.items())
            print(f"{precision} {num_in} -> {num_out}: {times}")


if __name__ == "__main__":
    main()
