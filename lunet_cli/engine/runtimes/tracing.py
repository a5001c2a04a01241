"""From a network to a graph that takes any batch and any size."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from lunet_cli.engine.networks.blocks import SegmentationNetwork

INPUT, OUTPUT = "image", "logits"


class _AnySize(nn.Module):
    """The network with its padding to the stride as a look-up, which unlike `F.pad` every exporter follows."""

    def __init__(self, network: SegmentationNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        stride = self.network.spec.total_stride
        depth, height, width = image.shape[2:]
        for axis, size in enumerate((depth, height, width), start=2):
            padded = (size + stride - 1) // stride * stride
            image = image.index_select(axis, torch.arange(padded, device=image.device).clamp(max=size - 1))
        return self.network.compute_logits(image)[:, :, :depth, :height, :width]


def trace(network: SegmentationNetwork) -> ExportedProgram:
    """The graph of a network in evaluation mode, from `image` (B, C, D, H, W) to logits, for all B, D, H, W >= 1."""
    # A size that is neither 0 nor 1 nor that of another axis, so that none is taken for a constant.
    stride = network.spec.total_stride
    image = torch.zeros(2, network.spec.in_channels, 2 * stride + 1, 3 * stride + 1, 4 * stride + 1)
    sizes = dict.fromkeys((0, 2, 3, 4), Dim.DYNAMIC)
    with quiet(), torch.no_grad():
        return torch.export.export(_AnySize(network).eval(), (image,), dynamic_shapes={INPUT: sizes})


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep remarks and progress bars of exporters from the user."""
    names = ("", "torch.onnx", "onnxscript", "torch.export", "onnx_ir", "nncf")  # the first is the root logger
    levels = {name: logging.getLogger(name).level for name in names}
    try:
        for name in names:
            logging.getLogger(name).setLevel(logging.ERROR)
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
