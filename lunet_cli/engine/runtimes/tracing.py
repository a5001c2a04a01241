"""From a network to a graph that takes any batch and any size."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from lunet_cli.config.vocabulary import Size
from lunet_cli.engine.networks.blocks import SegmentationNetwork

INPUT, OUTPUT = "image", "logits"


class _AnySize(nn.Module):
    """The network with its padding as a look-up, which unlike `F.pad` every exporter follows.

    Args:
        network: The network.
        window: Voxels (D, H, W); an axis that is shorter is surrounded by zeros, as `Stitcher` does
            it.
    """

    def __init__(self, network: SegmentationNetwork, window: Size) -> None:
        super().__init__()
        self.network = network
        self.window = window

    def forward(self, image: Tensor) -> Tensor:
        sizes = image.shape[2:]
        fronts = []
        for axis, (size, edge) in enumerate(zip(sizes, self.window, strict=True), start=2):
            place, front = _places(size, edge, self.network.spec.total_stride, image.device)
            plane = torch.zeros_like(image.select(axis, 0)).unsqueeze(axis)
            image = torch.cat([image, plane], dim=axis).index_select(axis, place)
            fronts.append(front)
        logits = self.network.compute_logits(image)
        for axis, (size, front) in enumerate(zip(sizes, fronts, strict=True), start=2):
            logits = logits.index_select(axis, torch.arange(size, device=image.device) + front)
        return logits


def _places(size: int, edge: int, stride: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Where the voxels of a padded axis come from, and how many zeros are in front.

    The place `size`, one behind the last voxel, stands for zeros.
    """
    inside = torch.scalar_tensor(size, dtype=torch.int64, device=device).clamp(min=edge)
    front = torch.div(inside - size, 2, rounding_mode="floor")
    # As a number of its own, so that the sizes inside of the network are multiples of it: terms of
    # the image's size would grow with each pooling, and tracing would take ten times as long.
    num_strides = cast(int, torch.div(inside + stride - 1, stride, rounding_mode="floor").item())
    # As with the other sizes, none is taken for 1; see `drop_assertions`.
    torch._check(num_strides >= 2)
    # Up to the window there are zeros; from there to a multiple of the stride, the last voxel is
    # repeated.
    place = torch.minimum(torch.arange(num_strides * stride, device=device), inside - 1) - front
    return torch.where((place >= 0) & (place < size), place, size), front


def trace(network: SegmentationNetwork, window: Size = (1, 1, 1)) -> ExportedProgram:
    """The graph of a network in evaluation mode, from `image` (B, C, D, H, W) to logits.

    It holds for all B, D, H, W >= 1.

    Args:
        network: The network.
        window: Voxels (D, H, W) that it is to see at least; smaller images are surrounded by zeros
            inside the graph.
    """
    # A size that is neither 0 nor 1 nor that of another axis or window, so that none is taken for a
    # constant.
    stride = network.spec.total_stride
    image = torch.zeros(2, network.spec.in_channels, 2 * stride + 1, 3 * stride + 1, 4 * stride + 1)
    sizes = dict.fromkeys((0, 2, 3, 4), Dim.DYNAMIC)
    with quiet(), torch.no_grad():
        return torch.export.export(
            _AnySize(network, window).eval(), (image,), dynamic_shapes={INPUT: sizes}
        )


def drop_assertions(program: ExportedProgram) -> None:
    """Take out of a graph what it asks of sizes.

    It holds for smaller ones than those it was traced for.
    """
    for node in list(program.graph.nodes):
        if node.target is torch.ops.aten._assert_scalar.default:
            program.graph.erase_node(node)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep remarks and progress bars of exporters from the user."""
    # The first is the root logger.
    names = ("", "torch.onnx", "onnxscript", "torch.export", "onnx_ir", "nncf")
    levels = {}
    try:
        for name in names:
            logger = logging.getLogger(name)
            levels[name] = logger.level
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
