"""What an export reports and returns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Agreement:
    """An exported file beside PyTorch, on the same volumes.

    Args:
        cases: Where the volumes come from, in words.
        num_cases: How many there were.
        max_difference: Largest difference of a probability from eager fp32.
        dice: Dice of the label maps of `predict` with the file and with the checkpoint in eager
            fp32, over the voxels of all labels; of the case where it is lowest.
        documented_dice: The same of the label maps that the file gives in the way docs/export.md
            shows.
        eager_ms: Median time of a window by PyTorch as it comes, in fp32.
        exported_ms: Median time of a window by the exported file.
    """

    cases: str
    num_cases: int
    max_difference: float
    dice: float
    documented_dice: float
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
