"""Cleaning a segmentation: largest component, holes, small components."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk  # noqa: N813

from lunet_cli.engine.inference.segmentation import Segmentation
from lunet_cli.errors import ConfigError

Mask = npt.NDArray[np.bool_]
OPERATIONS = ("largest-component", "fill-holes", "min-volume")


@dataclass(frozen=True)
class Step:
    """One cleaning step.

    Args:
        operation: `largest-component` keeps the largest of the components that touch at a face,
            edge or corner; `fill-holes` fills what the region encloses; `min-volume` drops
            components that are smaller.
        label: The region; None for all.
        volume_ml: The smallest component that `min-volume` keeps, in ml.
    """

    operation: str
    label: str | None
    volume_ml: float = 0.0

    def __str__(self) -> str:
        """As `parse_step` reads it."""
        where = "" if self.label is None else f"{self.label}:"
        least = f"={self.volume_ml:g}" if self.operation == "min-volume" else ""
        return f"{where}{self.operation}{least}"


def parse_step(text: str, labels: Sequence[str]) -> Step:
    """Read `OPERATION`, `LABEL:OPERATION` or `[LABEL:]min-volume=ML`.

    Raises:
        ConfigError: The operation or the label is unknown, or the volume is missing or no number.
    """
    label, _, rest = text.rpartition(":")
    operation, equals, value = rest.partition("=")
    if operation not in OPERATIONS:
        raise ConfigError(
            f"--postprocess {text}: unknown operation '{operation}'",
            hint=f"Known: {', '.join(OPERATIONS)}",
        )
    if label and label not in labels:
        raise ConfigError(
            f"--postprocess {text}: unknown label '{label}'", hint=f"Known: {', '.join(labels)}"
        )
    if bool(equals) != (operation == "min-volume"):
        raise ConfigError(
            f"--postprocess {text}: only min-volume takes a volume, as in min-volume=0.5 (ml)"
        )
    try:
        volume_ml = float(value) if equals else 0.0
    except ValueError:
        volume_ml = math.nan
    if not (math.isfinite(volume_ml) and volume_ml >= 0):
        raise ConfigError(f"--postprocess {text}: '{value}' is not a volume in ml")
    return Step(operation, label or None, volume_ml)


def postprocess(segmentation: Segmentation, steps: Sequence[Step]) -> None:
    """Apply cleaning steps in their order, in place."""
    voxel_ml = math.prod(segmentation.geometry.spacing_mm) / 1000
    for step in steps:
        for index, name in enumerate(segmentation.scheme.names):
            if step.label not in (None, name):
                continue
            mask = segmentation.mask(index)
            if mask.any():
                segmentation.replace_mask(index, clean(mask, step, voxel_ml=voxel_ml))


def clean(mask: Mask, step: Step, *, voxel_ml: float) -> Mask:
    """Apply one step to a mask.

    Args:
        mask: Mask (D, H, W), bool, not empty.
        step: What to do.
        voxel_ml: Volume of a voxel in ml.

    Returns:
        A mask of the same shape.
    """
    image = sitk.GetImageFromArray(mask.astype(np.uint8))
    if step.operation == "fill-holes":
        filled: Mask = sitk.GetArrayFromImage(sitk.BinaryFillhole(image)).astype(bool)
        return filled
    components = sitk.ConnectedComponent(image, True)
    smallest = (
        0 if step.operation == "largest-component" else math.ceil(step.volume_ml / voxel_ml - 1e-9)
    )
    ranked = sitk.GetArrayViewFromImage(
        by_size := sitk.RelabelComponent(components, minimumObjectSize=smallest)
    )
    kept: Mask = ranked == 1 if step.operation == "largest-component" else ranked > 0
    del by_size
    return kept
