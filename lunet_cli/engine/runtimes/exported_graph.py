"""What a runtime computes: a network, or a graph in an exported file; and what it makes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import Tensor

from lunet_cli.config.vocabulary import RuntimeName
from lunet_cli.engine.networks.blocks import SegmentationNetwork

GraphFormat = Literal["onnx", "openvino", "torch-export"]
SUFFIXES: dict[GraphFormat, str] = {"onnx": ".onnx", "openvino": ".xml", "torch-export": ".pt2"}
# What can compute a file, the usual one first: each format has a reader that is made for it.
RUNTIMES_OF_FORMAT: dict[GraphFormat, tuple[RuntimeName, ...]] = {
    "onnx": ("onnx", "openvino"),
    "openvino": ("openvino",),
    "torch-export": ("torch",),
}
METADATA_KEY = "lunet"


@dataclass(frozen=True)
class ExportedGraph:
    """A file with a graph from images (B, C, D, H, W) to logits (B, K, D, H, W), float32.

    It takes any B, D, H and W.

    Args:
        path: The file.
        format: Its format.
    """

    path: Path
    format: GraphFormat


Network = SegmentationNetwork | ExportedGraph
Forward = Callable[[Tensor], Tensor]
"""From images (B, C, D, H, W) to logits (B, K, D, H, W)."""


def format_of(path: Path) -> GraphFormat | None:
    """The format that the name of a file stands for; None if it is none of an exported graph."""
    for name, suffix in SUFFIXES.items():
        if path.suffix == suffix:
            return name
    return None
