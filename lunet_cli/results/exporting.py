"""What an export reports and returns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Agreement:
    """An exported file beside PyTorch, on the same windows.

    Args:
        windows: Where the windows come from, in words.
        num_windows: How many there were.
        max_difference: Largest difference of a probability from eager fp32.
        dice: Dice of the label maps with those of eager fp32, over the voxels of all windows, mean over labels.
        eager_ms: Median time of a window by PyTorch as it comes, in fp32.
        exported_ms: Median time of a window by the exported file.
    """

    windows: str
    num_windows: int
    max_difference: float
    dice: float
    eager_ms: float
    exported_ms: float


@dataclass(frozen=True)
class ExportResult:
    """What an export wrote.

    Args:
        architecture: Name of the network.
        format: Format of the file.
        weights: `fp32`, `fp16` or `int8`.
        runtime: What computed the file for the comparison.
        files: What was written, the network first, and the JSON beside it last.
        size_on_disk_bytes: Size of the network's files, the JSON left out.
        agreement: How it compares with PyTorch.
    """

    architecture: str
    format: str
    weights: str
    runtime: str
    files: tuple[Path, ...]
    size_on_disk_bytes: int
    agreement: Agreement
